"""The interface of a training backend. There are four backends.

`reference`, `compiled_cpu` and `cuda_graphs` train recurrent networks. They follow the same schedule, draw the same
negatives and give the same result. They differ only in the dropped units: the compiled kernel draws them with its own
random generator, the others with torch's. `whole_sessions` trains networks that read the history.
"""

from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clicklog.sessions import Sessions
from rankers.history.network import HistoryNetwork
from rankers.recurrent import RecurrentNetwork
from trainer.config import FitConfig

Network = RecurrentNetwork | HistoryNetwork
"""What can be trained."""


class Steps(Protocol):
    """An epoch, laid out in steps.

    Attributes:
        steps: (T+1,) int64; step t trains the events `steps[t]` to `steps[t+1]` (exclusive).
    """

    @property
    def steps(self) -> NDArray[np.int64]: ...  # noqa: D102

    def __len__(self) -> int: ...


S = TypeVar("S", bound=Steps)
"""The schedule of one kind of backend."""


class TrainingBackend(Protocol[S]):
    """Trains a network on the steps of a schedule. Each backend has its own type of schedule."""

    config: FitConfig

    def schedule(self, sessions: Sessions, order: NDArray[np.int64]) -> S:
        """Lay out an epoch.

        Args:
            sessions: at least two clicks each.
            order: (S,), the session numbers in the order in which the epoch takes them.
        """

    def begin_epoch(self) -> None:
        """Set the hidden states of all lanes and the summed loss to zero."""

    def run(self, schedule: S, first: int, last: int) -> None:
        """Train steps `first` to `last` (exclusive) of a schedule that `schedule` made."""

    @property
    def known(self) -> tuple[int, float]:
        """Number of this epoch's events whose loss is known without waiting for a GPU, and their summed loss."""

    @property
    def loss(self) -> float:
        """Summed loss of the epoch so far."""

    def write(self) -> None:
        """Copy the weights trained so far into the network."""

    @property
    def state(self) -> dict[str, Tensor]:
        """Everything that the next epoch depends on; set it to resume from there."""

    @state.setter
    def state(self, state: dict[str, Tensor]) -> None: ...
