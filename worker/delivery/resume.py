"""Where reading a partition goes on, and in which incarnation of the click log its offsets count.

An offset means nothing without the log that it counts in. A topic that is deleted and created again has another topic
id, and a log that was truncated (an unclean election) ends below what was read before. So each committed offset carries
a note, in Kafka's metadata of the commit, about the log that it counts in.
"""

from dataclasses import dataclass
from typing import Literal, Self

import msgspec

from messaging.incarnations import MARGIN_MS, after_truncation, topic_id_of


class CommitNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a commit says about its offset, as JSON.

    Attributes:
        log: the incarnation that the offset counts in; empty if unknown.
        cluster: id of the Kafka cluster; empty if unknown.
        time: Kafka timestamp of the record before the offset, at most the worker's clock, ms since 1970 UTC.
    """

    log: str = ""
    cluster: str = ""
    time: int = 0

    def text(self) -> str:
        """The note as it is committed."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The note of a commit; None if another program committed, or nextclick 0.1."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError:
            return None


class StoredOffset(int):
    """An offset to commit, together with its note."""

    note: CommitNote

    def __new__(cls, offset: int, note: CommitNote) -> Self:
        """Make an integer with a note."""
        self = super().__new__(cls, offset)
        self.note = note
        return self


@dataclass(frozen=True)
class PartitionLog:
    """The log of one partition when reading began.

    Attributes:
        name: of the incarnation; empty if the broker knows no topic ids.
        end: the offset after its last record.
        noted: whether a worker committed the offset that reading began at, or nobody did. Else it was set by hand, or
            by an older version.
    """

    name: str
    end: int
    noted: bool = True


@dataclass(frozen=True)
class Sight:
    """One partition as the broker shows it.

    Attributes:
        topic_id, cluster: as `messaging.topic_identity.TopicIdentity`.
        begin: first offset that the log still has.
        end: the offset after its last record.
    """

    topic_id: str
    cluster: str
    begin: int
    end: int


@dataclass(frozen=True)
class Resumption:
    """Where reading goes on.

    Attributes:
        offset: the next one to read.
        log: the log that it counts in.
        since: read on from the first record of this Kafka timestamp instead, ms since 1970 UTC; None: from `offset`.
        why: what became of the committed offset.
    """

    offset: int
    log: PartitionLog
    since: int | None
    why: Literal["committed", "none committed", "deleted", "new log", "truncated", "beyond the end"]


def resume(committed: int | None, note: CommitNote | None, sight: Sight) -> Resumption:
    """Decide where reading of a partition goes on.

    Args:
        committed: the group's committed offset; None if there is none.
        note: of that commit.
        sight: the partition now.
    """
    now = PartitionLog(sight.topic_id, sight.end, noted=committed is None or note is not None)
    if committed is None:
        return Resumption(sight.begin, now, None, "none committed")
    of_another = bool(note and note.log and sight.topic_id and topic_id_of(note.log) != sight.topic_id)
    if of_another and note is not None:
        # Tools that mirror a cluster translate committed offsets. In the same cluster, the offset is of the old topic.
        mirrored = note.cluster and sight.cluster and note.cluster != sight.cluster
        translated = mirrored and committed <= sight.end
        return Resumption(committed if translated else sight.begin, now, None, "new log")
    if note is not None and note.log and sight.topic_id:
        now = PartitionLog(note.log, sight.end)
    if committed < sight.begin:
        return Resumption(sight.begin, now, None, "deleted")
    if committed <= sight.end:
        return Resumption(committed, now, None, "committed")
    if note is None:
        return Resumption(sight.begin, now, None, "beyond the end")
    return Resumption(
        sight.end, PartitionLog(after_truncation(now.name), sight.end), note.time - MARGIN_MS, "truncated"
    )
