from collections.abc import Callable

import numpy as np
import pytest

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions


def sessions_from(lists: list[list[int]]) -> Sessions:
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in lists])])
    return Sessions(np.array([item for items in lists for item in items], dtype=np.int64), offsets)


def prefixes_from(lists: list[list[int]]) -> Prefixes:
    sessions = sessions_from(lists)
    return Prefixes(sessions.items, sessions.offsets)


@pytest.fixture
def make_sessions() -> Callable[[list[list[int]]], Sessions]:
    return sessions_from


@pytest.fixture
def make_prefixes() -> Callable[[list[list[int]]], Prefixes]:
    return prefixes_from


@pytest.fixture
def walks() -> list[list[int]]:
    """60 sessions that repeat items, over 12 items; item 12 of 13 is clicked only once."""
    random = np.random.default_rng(3)
    return [random.integers(0, 12, random.integers(2, 8)).tolist() for _ in range(60)] + [[12, 1]]
