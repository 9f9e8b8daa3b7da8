"""An early choice of the epoch: the newest sessions are not trained on, but judge the network after every epoch."""

from collections.abc import Callable
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
    """

    train: pl.DataFrame
    index: ItemIndex
    valid: Sessions


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
    return Parts(older, index, valid)


@dataclass
class EpochChoice:
    """Judges a network after every epoch, and keeps the weights of the best one; of equals the first.

    Attributes:
        judge: returns the network's figure on the validation part; higher is better.
        values: the figure after each epoch.
        weights: the network's state after the best epoch.
    """

    judge: Callable[[], float]
    values: list[float] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def best(self) -> int:
        """The best epoch so far, from 1."""
        return self.values.index(max(self.values)) + 1

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
        self.values = state[_VALUES].tolist()
        self.weights = {
            name.removeprefix(_WEIGHTS): tensor for name, tensor in state.items() if name.startswith(_WEIGHTS)
        }
