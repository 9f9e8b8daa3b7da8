"""What was refused: the messages of the rejected topic by reason, with examples."""

import re
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord

from clicklog.topic_span import click_consumer, click_partitions, open_spans, span_records
from schemas.rejection import OWN_HEADERS
from schemas.settings import Settings

_QUOTED = r"""(?<!\w)'(?:[^'\\]|\\.)*'…?|"(?:[^"\\]|\\.)*"…?"""
_NUMBER = r"(?<![\w-])[-+]?\d[\w:.+-]*"
_VALUE = re.compile(f"(?P<literal>`[^`]*`)|{_QUOTED}|{_NUMBER}")

MOST_REASONS = 100
"""Further reasons are counted together: other programs may write any reason."""

OTHER_REASONS = "other reasons"


@dataclass(frozen=True)
class Example:
    """One refused message.

    Attributes:
        id: `partition-offset` in the topic that it was read from.
        topic: that topic.
        rejected_at: when it was refused, ms since 1970 UTC.
        reason: why, with its values.
        key, value: as received; the value may have been cut.
    """

    id: str
    topic: str
    rejected_at: int
    reason: str
    key: bytes | None
    value: bytes | None


@dataclass
class Refusals:
    """Messages that were refused for one reason.

    Attributes:
        count: how many.
        first, last: when the first and the last one was refused, ms since 1970 UTC.
        examples: the last ones, by time.
        reasons: up to two reasons with their values.
    """

    count: int = 0
    first: int = 0
    last: int = 0
    examples: list[Example] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)

    def add(self, example: Example, most: int) -> None:
        """Count a message, and keep it if it is one of the last `most`."""
        self.first = min(self.first, example.rejected_at) if self.count else example.rejected_at
        self.last = max(self.last, example.rejected_at)
        self.count += 1
        if len(self.reasons) < 2:
            self.reasons.add(example.reason)
        if len(self.examples) < most or example.rejected_at >= self.examples[0].rejected_at:
            insort(self.examples, example, key=lambda each: each.rejected_at)
            del self.examples[:-most]


async def read_rejected(settings: Settings, since: int | None, examples: int) -> dict[str, Refusals]:
    """Read the rejected topic up to its present end.

    Args:
        settings: broker and topic.
        since: only messages refused since this time, ms since 1970 UTC.
        examples: how many messages are kept for each reason.

    Returns:
        reason → what was refused for it, the most frequent first. Reasons that differ only in their values are one,
        with … in place of the values; those after the first `MOST_REASONS` are together under `OTHER_REASONS`.

    Raises:
        BrokerError: no broker answers, or it stops sending.
        TopicError: the topic does not exist.
    """
    found: dict[str, Refusals] = {}
    async with click_consumer(settings, "rejected") as consumer:
        partitions = await click_partitions(consumer, settings, settings.rejected_topic)
        consumer.assign(partitions)
        spans = await open_spans(consumer, partitions, since)
        async for records, _ in span_records(consumer, spans, settings):
            for record in (record for listed in records.values() for record in listed):
                example = _example(record)
                group_of(found, without_values(example.reason)).add(example, examples)
    ordered = sorted(found.items(), key=lambda item: -item[1].count)
    return {next(iter(group.reasons)) if len(group.reasons) == 1 else name: group for name, group in ordered}


def group_of(found: dict[str, Refusals], reason: str) -> Refusals:
    """The group of a reason: a new one at its first message, or that of `OTHER_REASONS` if there are many."""
    if reason not in found and len(found) >= MOST_REASONS:
        reason = OTHER_REASONS
    return found.setdefault(reason, Refusals())


def without_values(reason: str) -> str:
    """A reason with … in place of ids, keys, times and other values; types and paths in backquotes stay.

    Example:
        >>> without_values("the message's key 'a' is not the session id 'b'")
        "the message's key … is not the session id …"
    """
    return _VALUE.sub(lambda found: found["literal"] or "…", reason)


def _example(record: "ConsumerRecord[bytes, bytes]") -> Example:
    headers = _own_headers(record.headers)
    place = f"{headers.get('partition', '?')}-{headers.get('offset', '?')}"
    reason = headers.get("reason", "no reason is given: another program wrote this message")
    return Example(place, headers.get("topic", "?"), record.timestamp, reason, record.key, record.value)


def _own_headers(headers: Sequence[tuple[str, Any]]) -> dict[str, str]:
    """The last header of each of our names: those before may be of the message as received."""
    return {name: (value or b"").decode(errors="replace") for name, value in headers if name in OWN_HEADERS}
