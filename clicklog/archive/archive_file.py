"""An archive file, known by its path alone."""

import re
from dataclasses import dataclass

_NAME = re.compile(
    r"day=(?P<day>\d{4}-\d\d-\d\d)/partition=(?P<partition>\d+)/"
    r"(?P<first>\d{20})-(?P<end>\d{20})_(?:(?P<oldest>\d+)-(?P<newest>\d+)|empty)"
    r"(?:_(?P<log>[A-Za-z0-9_-]{22}(?:\.\d+)?))?\.parquet$"
)


@dataclass(frozen=True, order=True)
class ArchiveFile:
    """One file, with the values in its path.

    Attributes:
        partition: of the clicks topic.
        first: first offset that the file covers.
        end: the offset after the last one.
        day: UTC day on which the broker took in the messages, such as `2026-11-24`; on a topic that keeps producers'
            times, the day on which the file was begun.
        oldest: earliest click time, ms since 1970 UTC; None if the range has no valid click.
        newest: latest click time, as `oldest`.
        size: in bytes; 0 where it is unknown.
        log: incarnation of the topic that the offsets count in (`clicklog.archive.incarnations`); empty if unknown.
    """

    partition: int
    first: int
    end: int
    day: str
    oldest: int | None = None
    newest: int | None = None
    size: int = 0
    log: str = ""

    @property
    def name(self) -> str:
        """The path below the topic's directory."""
        times = "empty" if self.oldest is None else f"{self.oldest}-{self.newest}"
        log = f"_{self.log}" if self.log else ""
        return f"day={self.day}/partition={self.partition}/{self.first:020d}-{self.end:020d}_{times}{log}.parquet"

    @classmethod
    def of(cls, path: str, size: int = 0) -> "ArchiveFile | None":
        """The file of a path; None for a path that is not an archive file's."""
        match = _NAME.search(path)
        if match is None:
            return None
        oldest, newest = match["oldest"], match["newest"]
        return cls(
            int(match["partition"]),
            int(match["first"]),
            int(match["end"]),
            match["day"],
            None if oldest is None else int(oldest),
            None if newest is None else int(newest),
            size,
            match["log"] or "",
        )
