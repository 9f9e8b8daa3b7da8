"""Makes a model of a family that counts: no epochs, no random numbers, no checkpoint."""

import time
from collections.abc import Callable
from typing import Any

import torch

from clicklog.sessions import Sessions
from rankers.families import counted_family_of
from schemas.errors import TrainingError
from trainer.config import TrainConfig
from trainer.fit import FitResult
from trainer.memory import allocating, memory_bytes

BYTES_PER_CLICK = 100
"""Memory of counting, beside the model's. Measured with 10 million clicks."""


def count(
    config: TrainConfig, sessions: Sessions, items: int, say: Callable[[str], None] = lambda _line: None
) -> tuple[Any, FitResult]:
    """Count a model; say before what it takes.

    Args:
        config: the family, which is one that counts, and its options.
        sessions: rows of the model's items.
        items: I.
        say: called with a line for people.

    Raises:
        TrainingError: see `size_of_counting`; or an allocation fails.
    """
    told = size_of_counting(config, sessions, items)
    say(told)
    began = time.perf_counter()
    with allocating(f"{told}, and an allocation failed: give it fewer clicks (--since, --split)"):
        model = counted_family_of(config.family).count(config.shape(items), sessions)
    return model, FitResult([], sessions.pairs, time.perf_counter() - began, {})


def size_of_counting(config: TrainConfig, sessions: Sessions, items: int) -> str:
    """What counting a model of these sessions and items takes, as a line for people.

    Raises:
        TrainingError: there is no session, or too little memory.
    """
    if not len(sessions):
        raise TrainingError("there is no session of two clicks or more: count more clicks, or lower --min-support")
    size = counted_family_of(config.family).largest_bytes(sessions, items)
    needed, there = size + BYTES_PER_CLICK * len(sessions.items), memory_bytes(torch.device("cpu"))
    takes = f"{_mb(size)} in a worker at most, and {_mb(needed)} while they are counted"
    told = f"{len(sessions.items):,} clicks of {len(sessions):,} sessions take {takes}"
    if needed > there:
        raise TrainingError(f"{told}, and this machine has {_mb(there)}: give it fewer clicks (--since, --split)")
    return told


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
