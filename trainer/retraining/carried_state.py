"""The optimiser's state from one training to the next.

Adagrad without its accumulators takes the first steps at full length and shakes what the parent has learnt. So a
retraining keeps the state that it ends with beside its bundle, and the next one begins with it: rows of items follow
their items, new items begin at zero and learn fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rankers.gru4rec.network import GRU4Rec
from trainer.backends.backend import choose_backend
from trainer.checkpoint import Checkpoint
from trainer.config import FitConfig


@dataclass(frozen=True)
class CarriedOptimiserState(Checkpoint):
    """A checkpoint that also hands in the state to begin with, and keeps the last one in memory.

    Attributes:
        begin: the state of `trainer.backends.backend.TrainingBackend` to begin with; None to begin from nothing.
        last: the state after the newest epoch, once there is one.
    """

    begin: Mapping[str, Tensor] | None = None
    last: dict[str, Tensor] = field(default_factory=dict)

    def load(self) -> tuple[list[float], dict[str, Tensor]] | None:
        """As `Checkpoint`; without one, the state to begin with and no epoch done."""
        found = super().load()
        if found is not None:
            return found
        return None if self.begin is None else ([], dict(self.begin))

    def save(self, losses: list[float], state: Mapping[str, Tensor]) -> None:
        """As `Checkpoint`."""
        self.last.clear()
        self.last.update({name: tensor.detach().cpu().clone() for name, tensor in state.items()})
        super().save(losses, state)


def carry_over(
    network: GRU4Rec, support: Any, config: FitConfig, kept: Mapping[str, Tensor], before: Tensor, share: float = 1.0
) -> dict[str, Tensor] | None:
    """The state to begin with: the network's own weights, with the accumulators of the training before.

    Args:
        network: the warm one.
        support: (I,) training clicks of its items.
        config: of the fit that begins.
        kept: the state that the training before ended with.
        before: (I,) int64, each item's row there, -1 for a new item.
        share: of the accumulators that is kept; below 1 old clicks weigh less.

    Returns:
        None where the training before was of another kind, and its state means nothing here.
    """
    path = choose_backend(network, support, config)
    state = {name: tensor.clone() for name, tensor in path.state.items()}
    known = before >= 0
    kernel = "rows" in state
    if kernel != ("rows" in kept):
        return None
    if kernel:
        if kept["rows"].shape[1:] != state["rows"].shape[1:] or kept["dense"].shape != state["dense"].shape:
            return None
        state["rows"][known, 1] = kept["rows"][before[known], 1] * share
        state["dense"][1] = kept["dense"][1] * share
        return state
    for name, tensor in kept.items():
        if not name.startswith("optimiser.accumulator."):
            continue
        of = name.removeprefix("optimiser.accumulator.")
        if of in ("output_weight", "output_bias", "embedding"):
            rows = tensor.new_zeros(len(before), *tensor.shape[1:])
            rows[known] = tensor[before[known]] * share
            state[name] = rows
        else:
            state[name] = tensor * share
    return state


def rows_before(items: list[Any], parent_rows: Mapping[Any, int]) -> Tensor:
    """Each item's row in the parent, (I,) int64; -1 for a new one."""
    return torch.tensor([parent_rows.get(item, -1) for item in items], dtype=torch.int64)
