"""An early choice of the epoch: the newest sessions are not trained on, but judge the network after every epoch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl
import torch
from torch import Tensor, nn

from clicklog.filters import filter_clicks
from clicklog.items import ItemIndex
from clicklog.sessions import Sessions, sessions_of
from clicklog.splits import newest_share
from schemas.errors import TrainingError

_VALUES, _WEIGHTS = "validation.values", "validation.weights."


@dataclass(frozen=True)
class Parts:
    """Clicks to train on, and the newest sessions to judge by.

    Attributes:
        train: the clicks of the older sessions that the filters left.
        index: their items.
        valid: the newest sessions, as rows of these items.
        valid_until: time of their last click, ms since 1970 UTC; None where clicks have no time.
    """

    train: pl.DataFrame
    index: ItemIndex
    valid: Sessions
    valid_until: int | None


def hold_out_newest(frame: pl.DataFrame, share: float, min_support: int, min_length: int) -> Parts:
    """Separate the newest share of the sessions, and filter the older ones.

    Raises:
        ClicksError: the share leaves nothing on one side.
        TrainingError: nothing is left after filtering, or to judge by.
    """
    older, newer = newest_share(frame, share)
    older = filter_clicks(older, min_support, min_length)
    index = ItemIndex.of(older)
    valid = sessions_of(newer, index)
    if valid.pairs == 0:
        raise TrainingError(
            f"the newest {share} of the sessions have no two clicks on items of the others: judge on a larger share"
        )
    return Parts(older, index, valid, newer["timestamp"].max())  # type: ignore[arg-type]


Figures = tuple[float, float]
"""Recall@20 and MRR@20: of equal Recall@20 the higher MRR@20 is better."""


def best_epoch(values: Sequence[Figures]) -> int:
    """The best epoch, from 1; of equals the first."""
    return values.index(max(values)) + 1


@dataclass
class EpochChoice:
    """Judges a network after every epoch, and keeps the weights of the best one.

    Attributes:
        judge: returns the network's figures on the validation part.
        values: the figures after each epoch.
        weights: the network's state after the best epoch.
    """

    judge: Callable[[], Figures]
    values: list[Figures] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def best(self) -> int:
        """The best epoch so far, from 1."""
        return best_epoch(self.values)

    def after_epoch(self, network: nn.Module) -> None:
        """Judge the network, and copy its weights if it is better than after all epochs before."""
        self.values.append(self.judge())
        if self.best == len(self.values):
            self.weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @property
    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        values = {_VALUES: torch.tensor(self.values, dtype=torch.float64)}
        return values | {_WEIGHTS + name: tensor for name, tensor in self.weights.items()}

    @state.setter
    def state(self, state: dict[str, Tensor]) -> None:
        self.values = [(recall, mrr) for recall, mrr in state[_VALUES].tolist()]
        self.weights = {
            name.removeprefix(_WEIGHTS): tensor for name, tensor in state.items() if name.startswith(_WEIGHTS)
        }
