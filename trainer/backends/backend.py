"""The interface of a training backend. There are three backends: `reference`, `compiled_cpu` and `cuda_graphs`.

All follow the same schedule, draw the same negatives and give the same result. They differ only in the dropped units:
the compiled kernel draws them with its own random generator, the others with torch's.
"""

from typing import Protocol

from torch import Tensor

from trainer.batches.session_parallel import Schedule


class TrainingBackend(Protocol):
    """Trains a network on the steps of a schedule."""

    def begin_epoch(self) -> None:
        """Set the hidden states of all lanes and the summed loss to zero."""

    def run(self, schedule: Schedule, first: int, last: int) -> None:
        """Train steps `first` to `last` (exclusive) of the schedule."""

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
