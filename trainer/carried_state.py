"""The optimiser's state from one training to the next.

With empty Adagrad accumulators the first updates are too large and degrade the parent's weights. So a retraining keeps
the state that it ends with beside its bundle, and the next warm start begins with it: an item that both trainings know
takes its accumulator along, and a new item begins at zero and learns fast.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rankers.recurrent import ITEM_TABLES, RecurrentNetwork
from trainer.backends.choice import choose_backend
from trainer.config import FitConfig

ACCUMULATOR = "optimiser.accumulator."


def carry_over(
    network: RecurrentNetwork, support: NDArray[np.int64], config: FitConfig, kept: Mapping[str, Tensor], before: Tensor
) -> dict[str, Tensor] | None:
    """The state to begin with: the network's own weights, with the accumulators of the training before.

    Args:
        network: the warm one.
        support: (I,) training clicks of its items.
        config: of the fit that begins.
        kept: the state that the training before ended with.
        before: (I,) int64, each item's row there, -1 for a new item.

    Returns:
        None where the training before used another backend or shape: its state means nothing here.
    """
    state = {name: tensor.clone() for name, tensor in choose_backend(network, support, config).state.items()}
    if ("rows" in state) != ("rows" in kept):  # the compiled kernel has a layout of its own
        return None
    return _carry_rows(state, kept, before) if "rows" in state else _carry_tables(state, kept, before)


def _carry_rows(state: dict[str, Tensor], kept: Mapping[str, Tensor], before: Tensor) -> dict[str, Tensor] | None:
    """As the compiled kernel keeps it: `rows` (I, 3, w) and `dense` (3, D), each weight, accumulator and velocity."""
    if kept["rows"].shape[1:] != state["rows"].shape[1:] or kept["dense"].shape != state["dense"].shape:
        return None
    known = before >= 0  # (I,)
    state["rows"][known, 1] = kept["rows"][before[known], 1]
    state["dense"][1] = kept["dense"][1]
    return state


def _carry_tables(state: dict[str, Tensor], kept: Mapping[str, Tensor], before: Tensor) -> dict[str, Tensor]:
    """As the other backends keep it: one accumulator for each parameter, by the parameter's name."""
    known = before >= 0  # (I,)
    for name, tensor in kept.items():
        if not name.startswith(ACCUMULATOR):
            continue
        if name.removeprefix(ACCUMULATOR) in ITEM_TABLES:
            rows = tensor.new_zeros(len(before), *tensor.shape[1:])
            rows[known] = tensor[before[known]]
            state[name] = rows
        else:
            state[name] = tensor.clone()
    return state
