"""Tests that measure time run alone, although the suite runs in several processes.

Every test holds a file lock while it runs (`room.lock`): a shared one, or an exclusive one if the test is marked
`alone`. To take it, a test must hold a second lock (`door.lock`). A test that waits for the exclusive lock keeps the
second one, so no other test starts meanwhile. The system releases the locks of a process when it ends. Two runs of the
suite in one checkout share the locks.
"""

import fcntl
import os
from collections.abc import Generator
from pathlib import Path

import pytest


class AlonePlugin:
    """Takes the locks around each test, outside the time that pytest-timeout counts.

    Args:
        directory: where the two lock files are; created if missing.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._door, self._room = (
            os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC) for name in ("door.lock", "room.lock")
        )
        self._alone = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        if not self._alone:
            self._enter(alone=_is_alone(item))
        try:
            return (yield)
        finally:
            # Consecutive `alone` tests keep the lock: they wait for the other processes only once.
            self._alone = self._alone and nextitem is not None and _is_alone(nextitem)
            if not self._alone:
                fcntl.flock(self._room, fcntl.LOCK_UN)

    def _enter(self, alone: bool) -> None:
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)
        self._alone = alone


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None
