"""Files of several topics of one name: which belong together, and where the archive of the present topic goes on."""

from datetime import UTC, datetime

import pytest
from aiokafka import TopicPartition

from clicklog.archive.archive_file import ArchiveFile
from clicklog.archive.files import resolve
from clicklog.archive.incarnations import chains, continuation
from clicklog.topic_span import PartitionSpan
from messaging.incarnations import MARGIN_MS
from schemas.errors import ClicksError

MIDNIGHT = round(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000
NOON = MIDNIGHT + DAY_MS // 2

A, B = "A" * 22, "B-_" + "B" * 19


def file(first: int, end: int, log: str = "", day: int = 1, newest: int | None = None) -> ArchiveFile:
    time = 1000 * day if newest is None else newest
    return ArchiveFile(0, first, end, f"2026-11-{day:02d}", time, time, 0, log)


def span(begins: int, end: int) -> PartitionSpan:
    return PartitionSpan(TopicPartition("clicks", 0), begins, begins, end)


@pytest.mark.parametrize("log", ["", A, B, A + ".3"])
def test_a_file_is_known_by_its_path(log: str) -> None:
    for one in (file(0, 10, log), ArchiveFile(3, 5, 9, "2026-11-24", log=log)):
        assert ArchiveFile.of(f"root/clicks/{one.name}") == one
    assert ArchiveFile.of("root/clicks/" + file(0, 10, A).name.replace(A, "A")) is None


def test_equal_offsets_of_two_topics_are_both_read_the_older_topic_first() -> None:
    old, new, within = file(0, 10, A, day=1), file(0, 8, B, day=2), file(2, 6, B, day=2)
    slices, superseded = resolve([new, within, old])
    assert [(piece.file, piece.start, piece.log) for piece in slices] == [(old, 0, A), (new, 0, B)]
    assert superseded == [within]


def test_files_of_an_older_version_are_the_beginning_of_the_topic_that_goes_on_behind_them() -> None:
    unnamed, named, other = file(0, 10, day=1), file(10, 20, A, day=2), file(0, 5, B, day=3)
    assert [(chain.log, chain.first, chain.end) for chain in chains([other, named, unnamed])] == [(A, 0, 20), (B, 0, 5)]
    assert [chain.log for chain in chains([other, unnamed])] == ["", B]
    overlapping = file(8, 14, day=2)  # by an archiver of an older version that still ran
    pieces = [(piece.start, piece.file.end) for piece in resolve([unnamed, overlapping, named])[0]]
    assert pieces == [(0, 10), (10, 14), (14, 20)]


@pytest.mark.parametrize(
    ("files", "topic_id", "now", "log", "first", "since"),
    [
        ([], A, (3, 50), A, 3, None),
        ([file(0, 10, A)], A, (0, 50), A, 10, None),
        ([file(0, 10, A)], A, (20, 50), A, 20, None),
        ([file(0, 10)], A, (0, 50), A, 10, None),  # an older version wrote it
        ([file(0, 60)], A, (2, 50), A, 2, None),  # of an older topic
        ([file(0, 10, A)], B, (0, 50), B, 0, None),
        ([file(0, 10, A, 1), file(0, 7, B, 2)], B, (0, 50), B, 7, None),
        ([file(0, 10, A, 1), file(0, 7, B, 2)], A, (0, 50), A, 10, None),  # renamed back
        ([file(0, 60, A, newest=NOON)], A, (0, 50), A + ".1", 50, NOON - MARGIN_MS),
        ([file(0, 60, A, newest=777)], A, (0, 50), A + ".1", 50, MIDNIGHT),  # clicks of long ago
        ([file(0, 60, A, newest=NOON + DAY_MS)], A, (0, 50), A + ".1", 50, MIDNIGHT),  # a clock that is ahead
        (
            [file(0, 60, A, 1), file(50, 90, A + ".1", 2, newest=NOON + DAY_MS)],
            A,
            (0, 80),
            A + ".2",
            80,
            NOON + DAY_MS - MARGIN_MS,
        ),
        ([file(0, 60, A, 1), file(50, 70, A + ".1", 2)], A, (0, 80), A + ".1", 70, None),
        ([file(0, 10, A)], "", (0, 50), A, 10, None),
        ([file(0, 10)], "", (0, 50), "", 10, None),
    ],
)
def test_where_the_archive_goes_on(
    files: list[ArchiveFile], topic_id: str, now: tuple[int, int], log: str, first: int, since: int | None
) -> None:
    found = continuation(chains(files), topic_id, span(*now))
    assert (found.log, found.first, found.since) == (log, first, since)


def test_another_topic_is_refused_where_no_ids_tell_them_apart() -> None:
    with pytest.raises(ClicksError, match="up to offset 60, and the topic ends at 50: it was created anew"):
        continuation(chains([file(0, 60)]), "", span(0, 50))
