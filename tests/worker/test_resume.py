"""Where reading goes on: a committed offset is used only in the log that it counts in."""

import pytest

from messaging.incarnations import MARGIN_MS
from worker.delivery.resume import CommitNote, Sight, StoredOffset, resume

TIME = 1_790_000_000_000


def sight(topic_id: str = "A", cluster: str = "C", begin: int = 0, end: int = 100) -> Sight:
    return Sight(topic_id, cluster, begin, end)


def note(log: str = "A", cluster: str = "C") -> CommitNote:
    return CommitNote(log, cluster, TIME)


@pytest.mark.parametrize(
    ("committed", "of", "now", "offset", "log", "why"),
    [
        (60, note("A"), sight("A"), 60, "A", "committed"),
        (100, note("A"), sight("A"), 100, "A", "committed"),
        (60, None, sight("A"), 60, "A", "committed"),  # by a tool, or by 0.1
        (60, note("A"), sight(""), 60, "", "committed"),  # a broker that knows no ids
        (60, note(""), sight("A"), 60, "A", "committed"),
        (60, note("A.2"), sight("A"), 60, "A.2", "committed"),
        (60, note("A"), sight("A", begin=60), 60, "A", "committed"),
        (60, note("A.1"), sight("A", begin=61), 61, "A.1", "deleted"),  # by a retention, before it was read
        (60, None, sight("", begin=100), 100, "", "deleted"),
        (None, None, sight("A", begin=7), 7, "A", "none committed"),
        (60, note("A"), sight("B", begin=3), 3, "B", "new log"),
        (60, note("A.1"), sight("B"), 0, "B", "new log"),
        (60, note("A", "C"), sight("B", "D"), 60, "B", "new log"),  # translated by what mirrored the cluster
        (160, note("A", "C"), sight("B", "D"), 0, "B", "new log"),
        (60, note("A", ""), sight("B", "D"), 0, "B", "new log"),  # committed while the topic did not exist
        (60, note("A", "C"), sight("B", ""), 0, "B", "new log"),
        (160, None, sight("A", begin=2), 2, "A", "beyond the end"),
    ],
)
def test_where_reading_goes_on(
    committed: int | None, of: CommitNote | None, now: Sight, offset: int, log: str, why: str
) -> None:
    found = resume(committed, of, now)
    assert (found.offset, found.log.name, found.log.end, found.since, found.why) == (offset, log, now.end, None, why)


def test_after_a_truncation_clicks_count_in_another_log_and_are_read_from_the_time_of_the_last_stored_one() -> None:
    found = resume(160, note("A"), sight("A", end=100))
    assert (found.offset, found.log.name, found.since) == (100, "A.1", TIME - MARGIN_MS)
    assert resume(160, note("A.1"), sight("A", end=100)).log.name == "A.2"
    assert resume(160, note(""), sight("", end=100)).log.name == ""


def test_a_note_survives_a_commit_and_notes_of_others_are_none() -> None:
    stored = StoredOffset(61, note())
    assert stored == 61
    assert CommitNote.read(stored.note.text()) == note()
    assert CommitNote.read(CommitNote().text()) == CommitNote()
    for text in ("", "some tool", "[1]", "null"):
        assert CommitNote.read(text) is None
