"""`nextclick train --clicks log`: archive and topic as one."""

import time
from pathlib import Path

import pytest

from clicklog.archive.files import Archive
from rankers.bundle import read_bundle
from schemas.announcement import ClickSpan
from schemas.settings import Settings
from tests.clicklog.archive.test_click_log_with_archive import delete_records
from tests.clicklog.archive.test_exactly_once import archive_now
from tests.clicklog.archive.topic import ends, produce
from tests.command_line import Command

pytestmark = pytest.mark.usefixtures("compiled_kernel")

MINUTE = 60_000
DAY = 1440 * MINUTE


class Train:
    """Trains on the test's topics and archive; `said` is the standard error of the last run."""

    def __init__(self, nextclick: Command) -> None:
        self._nextclick = nextclick
        self.said = ""

    def __call__(self, *options: str) -> ClickSpan | None:
        """The clicks that the bundle was trained on; None for exit code 1."""
        arguments = ["--epochs", "1", "--hidden", "4", "--samples", "4", "--device", "cpu", "--min-support", "1"]
        code, _, self.said = self._nextclick("train", *options, *arguments, "--out", "bundle")
        assert code in (0, 1)
        return None if code else read_bundle(Path("bundle")).trained_on


@pytest.fixture
def train(archive_settings: Settings, nextclick: Command, monkeypatch: pytest.MonkeyPatch) -> Train:
    for name in ("broker", "clicks_topic", "recommendations_topic", "models_topic", "rejected_topic", "archive_uri"):
        monkeypatch.setenv(f"NEXTCLICK_{name.upper()}", getattr(archive_settings, name))
    return Train(nextclick)


def visits(count: int, first: int, start: int, apart: int) -> list[tuple[str, int, int]]:
    """Sessions of three clicks a minute apart; sessions begin `apart` ms apart."""
    clicks = [
        (f"s{first + visit}", click, start + visit * apart + click * MINUTE)
        for visit in range(count)
        for click in range(3)
    ]
    return sorted(clicks, key=lambda click: click[2])


def test_every_click_counts_once(archive_settings: Settings, train: Train) -> None:
    start = time.time_ns() // 1_000_000 - DAY
    produce(archive_settings, visits(20, 0, start, MINUTE))
    archive_now(archive_settings)
    produce(archive_settings, visits(10, 20, start + DAY // 2, MINUTE))
    archived = ends(Archive(archive_settings.archive_uri, archive_settings.clicks_topic).files())
    assert sum(archived.values()) == 60
    for partition, end in archived.items():
        delete_records(archive_settings, partition, end // 2)  # half of the archived clicks are on the topic too
    span = train("--clicks", "log")
    assert span is not None
    assert (span.clicks, span.sessions) == (90, 30)
    assert (span.first, span.last) == (start, start + DAY // 2 + 11 * MINUTE)
    assert span.source == f"topic '{archive_settings.clicks_topic}' with its archive"
    assert sum(end for _, end in span.offsets.values()) == 90
    assert {first for first, _ in span.offsets.values()} == {0}


def test_a_silence_cuts_a_session_across_the_end_of_the_archive(
    archive_settings: Settings, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = time.time_ns() // 1_000_000 - DAY
    produce(archive_settings, visits(5, 0, start, MINUTE))
    archive_now(archive_settings)
    produce(archive_settings, visits(5, 0, start + 40 * MINUTE, MINUTE))
    for gap, sessions in (("30m", 10), ("2h", 5)):
        monkeypatch.setenv("NEXTCLICK_SESSION_GAP", gap)
        span = train("--clicks", "log")
        assert span is not None
        assert (span.clicks, span.sessions) == (30, sessions)
    span = train("--clicks", "log", "--session-gap", "30m")
    assert span is not None
    assert span.sessions == 10


def test_a_click_that_was_sent_twice_counts_once(archive_settings: Settings, train: Train) -> None:
    clicks = visits(5, 0, time.time_ns() // 1_000_000 - DAY, 10 * MINUTE)
    produce(archive_settings, clicks)
    archive_now(archive_settings)
    produce(archive_settings, clicks[-1:])
    for source in ("kafka", "log"):
        span = train("--clicks", source)
        assert span is not None
        assert (span.clicks, span.sessions) == (15, 5)
        assert "1 clicks repeat the one before: skipped" in train.said


def test_a_span_of_time(archive_settings: Settings, train: Train) -> None:
    start = time.time_ns() // 1_000_000 - 10 * DAY + 10 * MINUTE
    produce(archive_settings, visits(6, 0, start, DAY))  # 10 to 5 days old
    archive_now(archive_settings)
    produce(archive_settings, visits(5, 6, start + 6 * DAY, DAY))  # 4 to 0 days old
    for source in ("kafka", "log"):
        for options, first, last in (
            (("--since", "7d"), 3, 10),
            (("--since", "7d", "--until", "2d"), 3, 7),
            (("--until", "2d"), 0, 7),
        ):
            span = train("--clicks", source, *options)
            assert span is not None
            assert (span.first, span.last) == (start + first * DAY, start + last * DAY + 2 * MINUTE), (source, options)
            assert span.sessions == last - first + 1


def test_what_a_retention_has_eaten_is_said(archive_settings: Settings, train: Train) -> None:
    start = time.time_ns() // 1_000_000 - DAY
    produce(archive_settings, visits(20, 0, start, MINUTE))
    archive_now(archive_settings)
    produce(archive_settings, visits(20, 20, start + DAY // 2, MINUTE))
    archived = ends(Archive(archive_settings.archive_uri, archive_settings.clicks_topic).files())
    delete_records(archive_settings, 0, archived[0] + 3)
    span = train("--clicks", "log")
    assert span is not None
    assert f"missing: partition 0: 3 messages (offsets {archived[0]} to {archived[0] + 2}" in train.said


def test_a_failure_is_one_line(archive_settings: Settings, train: Train) -> None:
    produce(archive_settings, visits(5, 0, time.time_ns() // 1_000_000 - 3 * DAY, MINUTE))

    def line(*options: str) -> str:
        assert train("--clicks", "log", *options) is None
        return train.said.strip()

    none = f"nextclick: NEXTCLICK_ARCHIVE_URI={archive_settings.archive_uri} holds no archive of topic "
    assert line().startswith(none)
    archive_now(archive_settings)
    for options, message in (
        (("--since", "1d"), "with its archive holds no click from 20"),
        (("--until", "30d"), "with its archive holds no click to 20"),
        (("--since", "1d", "--until", "1d"), "--until 1d leaves out all that --since 1d takes"),
        (("--split", "train"), "--split train chooses rows of a file"),
    ):
        assert message in line(*options)
        assert "\n" not in line(*options)
