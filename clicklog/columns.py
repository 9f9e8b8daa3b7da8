"""Messages of the clicks topic as columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl
from aiokafka import ConsumerRecord

from schemas.click import InvalidClickError, ItemId, decode_click


@dataclass
class ClickColumns:
    """Valid clicks gathered from messages, and how many messages were none."""

    session_id: list[ItemId] = field(default_factory=list)
    item_id: list[ItemId] = field(default_factory=list)
    timestamp: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.offset)

    def add(self, records: Sequence["ConsumerRecord[bytes, bytes]"]) -> None:
        """Decode messages, in the order of their offsets."""
        sessions, items = self.session_id.append, self.item_id.append
        times, offsets = self.timestamp.append, self.offset.append
        decode = decode_click
        for record in records:
            try:
                click = decode(record.key, record.value)
            except InvalidClickError:
                self.skipped += 1
                continue
            sessions(click.session_id)
            items(click.item_id)
            times(click.timestamp)
            offsets(record.offset)

    def frame(self) -> pl.DataFrame:
        """The clicks: ids are Int64 where all of a column are numbers, else String."""
        return pl.DataFrame(
            [
                _ids("session_id", self.session_id),
                _ids("item_id", self.item_id),
                pl.Series("timestamp", self.timestamp, dtype=pl.Int64),
                pl.Series("offset", self.offset, dtype=pl.Int64),
            ]
        )


def _ids(name: str, ids: list[ItemId]) -> pl.Series:
    try:
        return pl.Series(name, ids, dtype=pl.Int64)
    except (TypeError, pl.exceptions.PolarsError):
        return pl.Series(name, list(map(str, ids)), dtype=pl.String)
