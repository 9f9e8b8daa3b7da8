"""The memory of a training step, and one line where there is too little."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np
import torch

from clicklog.sessions import Sessions
from rankers.device import out_of_memory
from rankers.history.network import HistoryNetwork
from schemas.errors import TrainingError
from trainer.backends.backend import Network
from trainer.config import FitConfig


@contextlib.contextmanager
def memory_errors(network: Network, config: FitConfig, sessions: Sessions, device: torch.device) -> Iterator[None]:
    """Refuse a training whose steps do not fit into memory, before it begins or as soon as an allocation fails.

    Raises:
        TrainingError: names the options that decide, and the largest batch size that is of use.
    """
    needed, there = step_bytes(network, config, sessions), memory_bytes(device)
    if needed > there:
        raise TrainingError(_too_large(network, config, sessions, f"and {device} has {there / 1e9:,.1f} GB"))
    with allocating(_too_large(network, config, sessions, "and an allocation failed")):
        yield


@contextlib.contextmanager
def allocating(failed: str) -> Iterator[None]:
    """Say this line if an allocation fails inside the block.

    Raises:
        TrainingError: with the line.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise TrainingError(failed) from error


def step_bytes(network: Network, config: FitConfig, sessions: Sessions) -> int:
    """Bytes of the largest tensors of one step: the scores, and the attention of networks that read the history.

    A recurrent network scores B clicks, each with the items of all of them and the samples. One that reads the history
    scores the n clicks of at least one session, and each of them attends to all n.
    """
    if not isinstance(network, HistoryNetwork):
        return 4 * config.batch_size * (config.batch_size + config.samples)
    clicks = min(network.config.window, int(np.diff(sessions.offsets).max(initial=1)) - 1)
    queries = max(config.batch_size, clicks)
    return 4 * queries * (queries + config.samples + clicks * network.attention_width)


def memory_bytes(device: torch.device) -> int:
    """Bytes of a device's whole memory."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _too_large(network: Network, config: FitConfig, sessions: Sessions, found: str) -> str:
    needed = f"{step_bytes(network, config, sessions) / 1e9:,.1f} GB"
    if isinstance(network, HistoryNetwork):
        return (
            f"--batch-size {config.batch_size} with --samples {config.samples}, --window {network.config.window} and "
            f"--hidden {network.config.hidden} takes {needed} for scores and attention of one step, {found}: lower "
            f"them (a batch of more than {sessions.pairs}, the number of clicks that have a next one, is of no use)"
        )
    return (
        f"--batch-size {config.batch_size} with --samples {config.samples} takes {needed} for the scores of one step, "
        f"{found}: lower it (more than {len(sessions)}, the number of sessions of two clicks or more, is of no use)"
    )
