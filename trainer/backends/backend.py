"""What a training backend does. There are three: `reference`, `compiled_cpu` and `cuda_graphs`.

All walk the same schedule, draw the same negatives and come to the same result. Dropped units are the one difference:
the compiled kernel takes them from a generator of its own, the others from torch's.
"""

from typing import Protocol

from torch import Tensor

from trainer.batches.session_parallel import Schedule


class TrainingBackend(Protocol):
    """Walks steps of a schedule and trains a network by them."""

    def begin_epoch(self) -> None:
        """Set every lane's hidden state, and the loss, to zero."""

    def run(self, schedule: Schedule, first: int, last: int) -> None:
        """Train steps `first` to `last` (exclusive) of the schedule."""

    @property
    def known(self) -> tuple[int, float]:
        """Of how many of the epoch's events the loss is known without waiting for a GPU, and their summed loss."""

    @property
    def loss(self) -> float:
        """Summed loss of the epoch so far."""

    def write(self) -> None:
        """Put the weights trained so far into the network."""

    @property
    def state(self) -> dict[str, Tensor]:
        """Everything that the next epoch depends on; setting it goes on from there."""

    @state.setter
    def state(self, state: dict[str, Tensor]) -> None: ...
