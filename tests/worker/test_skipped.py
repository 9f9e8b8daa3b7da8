"""Clicks that came again and were skipped are told once, with their number."""

import asyncio
import logging

import pytest

from worker import skipped
from worker.skipped import SkippedClicks


@pytest.fixture(autouse=True)
def quick(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skipped, "QUIET_SECONDS", 0.02)
    caplog.set_level(logging.INFO, logger="worker.skipped")


async def told(clicks: SkippedClicks, caplog: pytest.LogCaptureFixture, number: int) -> list[str]:
    task = asyncio.create_task(clicks.tell())
    async with asyncio.timeout(10):
        while len(caplog.records) < number:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)  # nothing more is told
    task.cancel()
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


async def test_one_line_has_the_count_of_a_whole_run(caplog: pytest.LogCaptureFixture) -> None:
    clicks = SkippedClicks()
    for _ in range(3):
        clicks.add(500, by_hand=False)
    clicks.add(0, by_hand=True)
    (line,) = await told(clicks, caplog, 1)
    assert line.startswith("INFO 1,500 clicks came again and were skipped")


async def test_offsets_that_were_set_back_are_told_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    clicks = SkippedClicks()
    clicks.add(30, by_hand=True)
    (line,) = await told(clicks, caplog, 1)
    assert line.startswith("WARNING 30 clicks came again")
    assert "set back by hand" in line
    assert "nextclick replay --since 7d --name again" in line


async def test_a_run_that_does_not_end_is_told_meanwhile(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skipped, "LONGEST_SECONDS", 0.0)
    clicks = SkippedClicks()

    async def keep_adding() -> None:
        while True:
            clicks.add(1, by_hand=False)
            await asyncio.sleep(0.005)

    adding = asyncio.create_task(keep_adding())
    assert len(await told(clicks, caplog, 2)) >= 2
    adding.cancel()
