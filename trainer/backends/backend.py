"""Three ways to train a network to the same result: plain autograd, a compiled kernel, and the steps of a GPU.

All walk the same schedule and draw the same negatives. Dropped units are the one difference: the kernel takes them from
a generator of its own, the others from torch's.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, float32

from rankers.recurrent import RecurrentNetwork
from trainer.backends.cuda_graphs.backend import CudaGraphsBackend
from trainer.backends.reference import ReferenceBackend
from trainer.batches.session_parallel import Schedule
from trainer.config import FitConfig
from trainer.distributed import SINGLE_PROCESS, Process


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


def compiled_cpu_supports(network: RecurrentNetwork, config: FitConfig, process: Process) -> bool:
    """Whether the compiled kernel trains this: the common configuration, in float32 on a CPU, by one process."""
    shape = network.config
    return (
        (shape.input, shape.layers, shape.reset) == ("shared", 1, "after")
        and config.optimizer == "adagrad"
        and network.output_weight.device.type == "cpu"
        and network.output_weight.dtype == float32
        and process.size == 1
    )


def choose_backend(
    network: RecurrentNetwork,
    support: NDArray[np.int64],
    config: FitConfig,
    plain: bool = False,
    process: Process = SINGLE_PROCESS,
) -> TrainingBackend:
    """The kernel where it can, the GPU's path on one GPU; autograd elsewhere, and where `plain` asks for it."""
    if not plain and compiled_cpu_supports(network, config, process):
        from trainer.backends.compiled_cpu.backend import CompiledCpuBackend  # numba takes a second to import

        return CompiledCpuBackend(network, support, config)
    if not plain and process.size == 1 and network.output_weight.device.type == "cuda":
        return CudaGraphsBackend(network, support, config)
    return ReferenceBackend(network, support, config, process)
