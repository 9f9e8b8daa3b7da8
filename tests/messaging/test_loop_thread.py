"""An event loop in its own thread, next to a thread that computes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future

import pytest

from messaging.loop_thread import LoopThread


def test_the_loop_goes_on_while_the_thread_is_busy_and_contexts_are_left_in_reverse() -> None:
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def context(name: str) -> AsyncIterator[str]:
        async def beat() -> None:
            while True:
                await asyncio.sleep(0.01)
                seen.append("beat")

        task = asyncio.create_task(beat())
        yield name
        task.cancel()
        seen.append(f"left {name}")

    with LoopThread("test") as loop:
        assert loop.enter(context("first")) == "first"
        loop.enter(context("second"))
        deadline = time.monotonic() + 30
        while seen.count("beat") < 3 and time.monotonic() < deadline:
            sum(range(1000))
        assert loop.run(asyncio.sleep(0, "answer")) == "answer"
    assert seen.count("beat") >= 3
    assert [what for what in seen if what != "beat"] == ["left second", "left first"]


def test_errors_come_back_to_the_caller() -> None:
    async def fails() -> None:
        raise ValueError("no")

    with LoopThread("test") as loop, pytest.raises(ValueError, match="no"):
        loop.run(fails())


def test_an_interrupted_wait_ends_its_work_and_nothing_stays_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def started() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)  # closes its connection
            seen.append("closed")

    def interrupted(_: Future[None]) -> None:
        time.sleep(0.1)
        raise KeyboardInterrupt

    def run_interrupted(loop: LoopThread) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Future, "result", interrupted)
            loop.run(started())

    with pytest.raises(KeyboardInterrupt), LoopThread("test") as loop:
        run_interrupted(loop)
    assert seen == ["closed"]
