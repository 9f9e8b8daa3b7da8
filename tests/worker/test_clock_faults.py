"""A worker whose clock is wrong or jumps: real processes under libfaketime, with real Kafka."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.worker.deployment import START, Deployment, clicks_of
from tests.worker.test_delivery import RATE, assert_undisturbed
from tests.worker.test_disk_faults import answer

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("clock"),
    pytest.mark.usefixtures("compiled_scorer"),
    pytest.mark.skipif(LIBRARY is None, reason="needs libfaketimeMT.so.1 (Debian: faketime)"),
]

SWEEPING = "tests.worker.sweeping"


def faked(clock: Path) -> dict[str, str]:
    """The environment of a process whose clock is wrong by the seconds that a file says; its monotonic one is right."""
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


@pytest.fixture
def kafka_settings(kafka_settings: Settings) -> Settings:
    """A clock that is wrong by an hour is wrong by more than anything here."""
    changes = {"session_life": "20m", "clock_tolerance": "10m"}
    return Settings(_env_file=None, **kafka_settings.model_dump(exclude=set(changes), exclude_unset=True) | changes)


@pytest.fixture
def clicks() -> Iterator[list[tuple[str, int, int]]]:
    """Clicks of the present time: a worker whose clock is late sees them in the future."""
    shift = round(time.time() * 1000) - START
    return [(session, item, moment + shift) for session, item, moment in clicks_of(200, 9)]


@pytest.mark.parametrize("wrong_by", ["+3600", "-3600"])
def test_a_clock_that_is_wrong_by_an_hour_changes_no_answer_and_ends_no_session(
    deployment: Deployment, clicks: list[tuple[str, int, int]], wrong_by: str
) -> None:
    clock = deployment.directory / "clock"
    clock.write_text(wrong_by)
    deployment.publish()
    assert answer(deployment, clicks[:600]).stop() == 0
    wrong = deployment.start(module=SWEEPING, **faked(clock))
    deployment.wait_until(lambda: wrong.said.count("model v1 is ready") == 2, "the model")
    time.sleep(3)
    deployment.send(clicks[600:1200])
    deployment.wait_until_all_answered()
    time.sleep(3)
    assert wrong.stop() == 0
    assert f"this machine's clock is 3600 s {'ahead of' if wrong_by[0] == '+' else 'behind'} the broker's" in wrong.said
    answer(deployment, clicks[1200:1201], module=SWEEPING)
    time.sleep(3)
    deployment.send(clicks[1201:])
    assert_undisturbed(deployment, duplicates_allowed=False)


def test_a_clock_that_jumps_while_clicks_flow_changes_nothing(
    deployment: Deployment, clicks: list[tuple[str, int, int]]
) -> None:
    clock = deployment.directory / "clock"
    clock.write_text("+0")
    deployment.publish()
    worker = deployment.start(module=SWEEPING, **faked(clock))
    deployment.send(clicks[:200])
    deployment.wait_until_all_answered()
    with deployment.flowing(clicks[200:-1], RATE / 4):
        clock.write_text("+3600")
        deployment.wait_until(
            lambda: re.search(r"clock is 36\d\d s ahead of", worker.said) is not None, "a line about it"
        )
        for jump in ("-3600", "+7200", "-90000", "+0", "+31536000", "+0"):
            clock.write_text(jump)
            time.sleep(2.5)
    deployment.send(clicks[-1:])
    assert_undisturbed(deployment, duplicates_allowed=False)
    assert worker.alive
    assert "agree again" in worker.said
    assert worker.stop() == 0
