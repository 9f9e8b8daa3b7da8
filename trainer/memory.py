"""The memory of a training step, and one line where there is too little."""

import contextlib
import os
from collections.abc import Iterator

import torch

from clicklog.sessions import Sessions
from rankers.device import out_of_memory
from schemas.errors import TrainingError
from trainer.config import FitConfig


@contextlib.contextmanager
def memory_errors(config: FitConfig, sessions: Sessions, device: torch.device) -> Iterator[None]:
    """Refuse a training whose steps do not fit into memory, before it begins or as soon as an allocation fails.

    Raises:
        TrainingError: names the batch size and the number of sessions that can be trained side by side at all.
    """
    needed, there = scores_bytes(config), memory_bytes(device)
    if needed > there:
        raise TrainingError(_too_large(config, sessions, f"and {device} has {there / 1e9:,.1f} GB"))
    with allocating(_too_large(config, sessions, "and an allocation failed")):
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


def scores_bytes(config: FitConfig) -> int:
    """Bytes of one step's scores: B lanes, each with the items of all lanes and the samples."""
    return 4 * config.batch_size * (config.batch_size + config.samples)


def memory_bytes(device: torch.device) -> int:
    """Bytes of a device's whole memory."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _too_large(config: FitConfig, sessions: Sessions, found: str) -> str:
    return (
        f"--batch-size {config.batch_size} with --samples {config.samples} takes {scores_bytes(config) / 1e9:,.1f} GB "
        f"for the scores of one step, {found}: lower it (more than {len(sessions)}, the number of sessions of two "
        "clicks or more, is of no use)"
    )
