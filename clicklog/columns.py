"""Messages of the clicks topic as columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl
from aiokafka import ConsumerRecord

from clicklog.clicks import IDS, exact_numbers
from schemas.click import MAX_TIMESTAMP, DecodeClick, InvalidClickError, ItemId, decode_click


@dataclass
class ClickColumns:
    """Valid clicks decoded from messages, and the number of invalid messages.

    Attributes:
        since: clicks before this time are left out, ms since 1970 UTC.
        until: clicks from this time on are left out.
        decode_message: decodes a message of the topic.
        session_id, item_id, timestamp, offset: of each click; times in ms since 1970 UTC.
        skipped: messages that were not valid clicks.
        passed_over: messages that are no clicks by NEXTCLICK_CLICK_WHERE.
    """

    since: int = 0
    until: int = MAX_TIMESTAMP + 1
    decode_message: DecodeClick = decode_click
    session_id: list[ItemId] = field(default_factory=list)
    item_id: list[ItemId] = field(default_factory=list)
    timestamp: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    skipped: int = 0
    passed_over: int = 0

    @classmethod
    def between(
        cls, since: int | None, until: int | None, decode_message: DecodeClick = decode_click
    ) -> "ClickColumns":
        """Columns for the clicks of a span of time; None means no limit."""
        return cls(0 if since is None else since, MAX_TIMESTAMP + 1 if until is None else until, decode_message)

    def __len__(self) -> int:
        return len(self.offset)

    def add(self, records: Sequence["ConsumerRecord[bytes, bytes]"]) -> None:
        """Decode messages; they must be in the order of their offsets."""
        sessions, items = self.session_id.append, self.item_id.append
        times, offsets = self.timestamp.append, self.offset.append
        since, until = self.since, self.until
        decode = self.decode_message
        for record in records:
            try:
                click = decode(record.key, record.value, MAX_TIMESTAMP, record.timestamp)
            except InvalidClickError:
                self.skipped += 1
                continue
            if click is None:
                self.passed_over += 1
            elif since <= click.timestamp < until:
                sessions(click.session_id)
                items(click.item_id)
                times(click.timestamp)
                offsets(record.offset)

    def frame(self) -> pl.DataFrame:
        """The clicks. An id column is Int64 if all its ids are numbers, in either form, else String."""
        return pl.DataFrame(
            [
                _ids("session_id", self.session_id),
                _ids("item_id", self.item_id),
                pl.Series("timestamp", self.timestamp, dtype=pl.Int64),
                pl.Series("offset", self.offset, dtype=pl.Int64),
            ]
        )


def with_equal_ids(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """The frames with the same id types: String if any non-empty frame has String, else Int64."""
    texts = {name for name in IDS if any(frame.schema[name] == pl.String for frame in frames if len(frame))}
    kinds = {name: pl.String if name in texts else pl.Int64 for name in IDS}
    return [frame.cast(kinds) for frame in frames]  # type: ignore[arg-type]


def _ids(name: str, ids: list[ItemId]) -> pl.Series:
    try:
        return pl.Series(name, ids, dtype=pl.Int64)
    except (TypeError, pl.exceptions.PolarsError):
        return exact_numbers(pl.Series(name, list(map(str, ids)), dtype=pl.String))
