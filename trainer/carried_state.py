"""Carries the optimiser's state from one training to the next.

With empty Adagrad accumulators the first updates are too large and degrade the parent's weights. So a retraining saves
its final state next to its bundle, and the next warm start begins with that state. An item that occurs in both
trainings keeps its accumulator. A new item's accumulator begins at zero, so its first updates are large.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainer.backends.backend import Network
from trainer.backends.choice import choose_backend
from trainer.config import FitConfig

ACCUMULATOR = "optimiser.accumulator."


def carry_over(
    network: Network, support: NDArray[np.int64], config: FitConfig, kept: Mapping[str, Tensor], before: Tensor
) -> dict[str, Tensor] | None:
    """The initial state of a warm start: the network's weights, with the accumulators of the previous training.

    Args:
        network: the warm-started network.
        support: (I,) training clicks of its items.
        config: of the fit that begins.
        kept: the final state of the previous training.
        before: (I,) int64, each item's row in the previous training, -1 for a new item.

    Returns:
        None if the previous training used another backend or shape: its state cannot be used.
    """
    state = {name: tensor.clone() for name, tensor in choose_backend(network, support, config).state.items()}
    if ("rows" in state) != ("rows" in kept):  # only the compiled kernel has this layout
        return None
    return (
        _carry_rows(state, kept, before) if "rows" in state else _carry_tables(network.item_tables, state, kept, before)
    )


def _carry_rows(state: dict[str, Tensor], kept: Mapping[str, Tensor], before: Tensor) -> dict[str, Tensor] | None:
    """The layout of the compiled kernel: `rows` (I, 3, w) and `dense` (3, D) of weight, accumulator and velocity."""
    if kept["rows"].shape[1:] != state["rows"].shape[1:] or kept["dense"].shape != state["dense"].shape:
        return None
    known = before >= 0  # (I,)
    state["rows"][known, 1] = kept["rows"][before[known], 1]
    state["dense"][1] = kept["dense"][1]
    return state


def _carry_tables(
    item_tables: tuple[str, ...], state: dict[str, Tensor], kept: Mapping[str, Tensor], before: Tensor
) -> dict[str, Tensor]:
    """The layout of the other backends: one accumulator per parameter, by the parameter's name."""
    known = before >= 0  # (I,)
    for name, tensor in kept.items():
        if not name.startswith(ACCUMULATOR):
            continue
        if name.removeprefix(ACCUMULATOR) in item_tables:
            rows = tensor.new_zeros(len(before), *tensor.shape[1:])
            rows[known] = tensor[before[known]]
            state[name] = rows
        else:
            state[name] = tensor.clone()
    return state
