"""The choice of the backend that trains a network."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import float32

from rankers.history.network import HistoryNetwork
from rankers.recurrent import RecurrentNetwork
from schemas.errors import TrainingError
from trainer.backends.backend import Network, TrainingBackend
from trainer.backends.cuda_graphs.backend import CudaGraphsBackend
from trainer.backends.reference import ReferenceBackend
from trainer.backends.whole_sessions import WholeSessionsBackend
from trainer.config import FitConfig
from trainer.distributed import SINGLE_PROCESS, Process


def compiled_cpu_supports(network: Network, config: FitConfig, process: Process) -> bool:
    """Whether the compiled kernel can train this: the common configuration, in float32, on a CPU, in one process."""
    if not isinstance(network, RecurrentNetwork):
        return False
    shape = network.config
    return (
        (network.cell, shape.input, shape.layers, shape.reset) == ("gru", "shared", 1, "after")
        and config.optimizer == "adagrad"
        and config.loss != "binary-cross-entropy"
        and network.output_weight.device.type == "cpu"
        and network.output_weight.dtype == float32
        and process.size == 1
    )


def choose_backend(
    network: Network,
    support: NDArray[np.int64],
    config: FitConfig,
    plain: bool = False,
    process: Process = SINGLE_PROCESS,
) -> TrainingBackend[Any]:
    """`compiled_cpu` where it is supported, `cuda_graphs` on one GPU, else `reference`; `plain` forces `reference`.

    Networks that read the history have one backend, `whole_sessions`.

    Raises:
        TrainingError: several processes are to train a network that reads the history.
    """
    if isinstance(network, HistoryNetwork):
        if process.size > 1:
            raise TrainingError(
                f"{process.size} processes cannot train a network that reads the history: start one process"
            )
        return WholeSessionsBackend(network, support, config)
    if not plain and compiled_cpu_supports(network, config, process):
        from trainer.backends.compiled_cpu.backend import CompiledCpuBackend  # numba takes a second to import

        return CompiledCpuBackend(network, support, config)
    if not plain and process.size == 1 and network.output_weight.device.type == "cuda":
        return CudaGraphsBackend(network, support, config)
    return ReferenceBackend(network, support, config, process)
