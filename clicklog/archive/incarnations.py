"""Which archive files belong to one incarnation of the clicks topic, and where the archive of the present one goes on.

A topic that is deleted and created again has another topic id, and its offsets begin anew. A truncated topic keeps its
id and ends below what was archived. Each file names the incarnation that its offsets count in
(`messaging.incarnations`). Files that name none were written by 0.2 or earlier, or the broker knows no topic ids.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clicklog.archive.archive_file import ArchiveFile
from clicklog.topic_span import PartitionSpan
from messaging.incarnations import MARGIN_MS, after_truncation, topic_id_of, truncations_of
from schemas.errors import ClicksError


@dataclass(frozen=True)
class Chain:
    """The files of one partition whose offsets count in one incarnation.

    Attributes:
        log: the incarnation; empty if no file names one.
        files: by offset, longer ones first.
    """

    log: str
    files: tuple[ArchiveFile, ...]

    @property
    def partition(self) -> int:
        """Number of the partition."""
        return self.files[0].partition

    @property
    def first(self) -> int:
        """The first archived offset."""
        return self.files[0].first

    @property
    def end(self) -> int:
        """The offset where the archive ends."""
        return max(file.end for file in self.files)

    @property
    def newest(self) -> int:
        """Latest click time, ms since 1970 UTC; 0 if there is no click."""
        return max((file.newest or 0 for file in self.files), default=0)


@dataclass(frozen=True)
class Continuation:
    """Where the archive of a partition goes on.

    Attributes:
        log: incarnation that the next file names.
        first: the next offset to archive.
        since: go on at the first message of this Kafka timestamp instead, ms since 1970 UTC; None: at `first`.
        chain: the chain that is continued; None if there is none.
        replaced: the chain of another incarnation that came before; None if there is none.
    """

    log: str
    first: int
    since: int | None = None
    chain: Chain | None = None
    replaced: Chain | None = None


def chains(files: Iterable[ArchiveFile]) -> list[Chain]:
    """The chains of all partitions, by partition, then by time.

    Files that name no incarnation are the beginning of the first chain that begins behind them: the same topic went on
    being archived by a newer version.
    """
    grouped: defaultdict[tuple[int, str], list[ArchiveFile]] = defaultdict(list)
    for file in files:
        grouped[file.partition, file.log].append(file)
    for partition, log in [key for key in grouped if not key[1]]:
        begin = min(file.first for file in grouped[partition, log])
        later = [key for key in grouped if key[0] == partition and key[1] and not truncations_of(key[1])]
        behind = [key for key in later if min(file.first for file in grouped[key]) > begin]
        if behind:
            grouped[min(behind, key=lambda key: _age(grouped[key]))] += grouped.pop((partition, log))
    found = [
        Chain(log, tuple(sorted(members, key=lambda file: (file.first, -file.end))))
        for (_, log), members in grouped.items()
    ]
    return sorted(found, key=lambda chain: (chain.partition, _age(chain.files), chain.log))


def continuation(of_partition: Sequence[Chain], topic_id: str, span: PartitionSpan) -> Continuation:
    """Where the archive of a partition goes on.

    Args:
        of_partition: the partition's chains, by time.
        topic_id: of the topic that exists now; empty if the broker knows none.
        span: the offsets that the topic has of the partition.

    Raises:
        ClicksError: the topic is another one than was archived, and the broker knows no topic ids that tell them apart.
    """
    last = of_partition[-1] if of_partition else None
    mine = [chain for chain in of_partition if topic_id and topic_id_of(chain.log) == topic_id]
    if mine:
        chain = max(mine, key=lambda each: truncations_of(each.log))
    elif last is not None and (not last.log or not topic_id):
        chain = last
    else:
        return Continuation(topic_id, span.begins, replaced=last)
    if chain.end <= span.end:
        return Continuation(chain.log or topic_id, max(chain.end, span.begins), chain=chain)
    if mine:
        return Continuation(after_truncation(chain.log), span.end, since=_archived_until(chain), replaced=chain)
    if not topic_id:
        raise ClicksError(
            f"the archive holds partition {span.number} of topic {span.partition.topic!r} up to offset {chain.end}, "
            f"and the topic ends at {span.end}: it was created anew, and this Kafka knows no topic ids; "
            "name another NEXTCLICK_ARCHIVE_URI"
        )
    return Continuation(topic_id, span.begins, replaced=chain)


def _archived_until(chain: Chain) -> int:
    """A Kafka timestamp, ms since 1970 UTC, up to which the messages of the chain are archived.

    A click has the time of its client, which may be years wrong. The day of a file is by the broker's clock, or by the
    archiver's.
    """
    day = datetime.fromisoformat(max(file.day for file in chain.files)).replace(tzinfo=UTC)
    begin, end = (round(moment.timestamp() * 1000) for moment in (day, day + timedelta(days=1)))
    return max(chain.newest - MARGIN_MS, begin) if chain.newest < end else begin


def _age(files: Iterable[ArchiveFile]) -> tuple[str, int]:
    return max((file.day, file.newest or 0) for file in files)
