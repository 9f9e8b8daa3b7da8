"""Copies of messages that are no valid click, for the rejected topic: as received, or as much of them as fits."""

from dataclasses import dataclass
from typing import Any

from schemas.rejection import OWN_HEADERS
from worker.delivery.publisher import Headers, OutgoingRecord
from worker.delivery.records import RecordBatch

MOST_BYTES = 32 << 20
"""A larger copy is cut before the first try: a broker closes the connection at requests of more than 100 MB."""

FIRST_CUT = 900_000
"""A copy that is too large is cut to this size first: topics take 1 MB where nobody has set max.message.bytes."""

REASON_CHARACTERS = 1000

KINDS = ("empty", "key", "json", "timestamp", "session_id", "item_id", "other")
"""What can be wrong with a message. The full reason names values; metrics need a label with few values."""

_BEGINNINGS = {
    "the message has no value": "empty",
    "the message has no key": "key",
    "the message's key": "key",
    "the message has no record time": "timestamp",
    "not valid": "json",
    "Expected `object`": "json",
}
"""Beginning of a reason → its kind."""


@dataclass(frozen=True)
class Reject:
    """A message that is no click: where it is, and why."""

    partition: int
    offset: int
    reason: str


def kind_of(reason: str) -> str:
    """The kind of a reason of `schemas.click.InvalidClickError`, one of KINDS."""
    names = ("timestamp", "session_id", "item_id")
    field = reason.rpartition("which is its ")[2]  # with NEXTCLICK_CLICK_FIELDS
    if field in names:
        return field
    for beginning, kind in _BEGINNINGS.items():
        if reason.startswith(beginning):
            return kind
    return next((name for name in names if name in reason), "other")


def reject_copy(batch: RecordBatch, record: Any, reason: str, log: str = "") -> OutgoingRecord:
    """The copy of a message with its headers, and after them those that say why it is here and where it came from.

    Args:
        batch: it was fetched with this batch.
        record: the message, an aiokafka ConsumerRecord.
        reason: why it is not a valid click.
        log: incarnation of the click log that its offset counts in; empty if unknown.
    """
    headers = [
        *record.headers,
        ("reason", reason[:REASON_CHARACTERS].encode(errors="replace")),
        ("topic", batch.topic.encode()),
        ("partition", str(batch.partition).encode()),
        ("offset", str(record.offset).encode()),
        ("log", log.encode()),
    ]
    copy: OutgoingRecord = (record.key, record.value, headers)
    return _cut(copy, MOST_BYTES) if _size(copy) > MOST_BYTES else copy


def smaller_copy(copy: OutgoingRecord) -> OutgoingRecord | None:
    """A copy that is cut further, for a topic that refused this one; None if nothing is left to cut.

    A header `cut`, the last one, tells the sizes as received.
    """
    size = _size(copy)
    if not size:
        return None
    return _cut(copy, FIRST_CUT if size > FIRST_CUT else size // 2)


def _size(copy: OutgoingRecord) -> int:
    key, value, headers = copy
    return len(key or b"") + len(value or b"") + _bytes_of(_divided(headers)[0])


def _cut(copy: OutgoingRecord, size: int) -> OutgoingRecord:
    """Keep the key, if it fits, the message's headers, if they take little of it, and the beginning of the value."""
    key, value, headers = copy
    given, own = _divided(headers)
    if len(own) < len(OWN_HEADERS):
        lengths = f"key {len(key or b'')} bytes, value {len(value or b'')} bytes"
        own.append(("cut", f"{lengths}{f', headers {_bytes_of(given)} bytes' if given else ''} as received".encode()))
    if _bytes_of(given) > size // 4:
        given = []
    key_kept = None if key is None else key[: size - _bytes_of(given)]
    value_kept = None if value is None else value[: size - _bytes_of(given) - len(key_kept or b"")]
    return key_kept, value_kept, [*given, *own]


def _divided(headers: Headers | None) -> tuple[list[tuple[str, bytes | None]], list[tuple[str, bytes | None]]]:
    """The headers of the message as received, and those of the copy."""
    all_of_them = list(headers or ())
    own = len(OWN_HEADERS) - (not all_of_them or all_of_them[-1][0] != OWN_HEADERS[-1])
    return all_of_them[:-own], all_of_them[-own:]


def _bytes_of(headers: Headers) -> int:
    return sum(len(name) + len(value or b"") for name, value in headers)
