"""The clicks topic as a click log: read once, up to the end that it has when reading begins."""

import asyncio
from collections.abc import Callable

import polars as pl

from clicklog.clicks import Clicks, without_repetitions
from clicklog.columns import ClickColumns, with_equal_ids
from clicklog.topic_span import PartitionSpan, click_consumer, click_partitions, open_spans, read_spans
from schemas.durations import milliseconds
from schemas.errors import ClicksError
from schemas.settings import Settings


def read_click_topic(
    settings: Settings,
    since: int | None = None,
    until: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Clicks:
    """Read all partitions of the clicks topic up to their end offsets at the time of the call.

    Messages that are not valid clicks are skipped and counted; the worker has put them on the rejected topic. Clicks
    that equal the click before them in their session are left out and counted too: a producer without idempotence
    writes them when it retries.

    Args:
        settings: broker and topic.
        since: only clicks from this time on, ms since 1970 UTC. Reading starts earlier, by NEXTCLICK_CLOCK_TOLERANCE:
            a click's time may be ahead of its message's.
        until: only clicks before this time.
        progress: called with the number of offsets read so far and in total.

    Returns:
        Clicks with `offsets`, `skipped` and `repeated`, partition by partition, each by offset. An id column is Int64
        if all its ids are numbers, else String.

    Raises:
        BrokerError: no broker answers, or it stops sending.
        ClicksError: the topic has no valid click.
        TopicError: the topic does not exist.
    """
    spans, columns = asyncio.run(_read(settings, since, until, progress))
    skipped = sum(part.skipped for part in columns.values())
    passed_over = sum(part.passed_over for part in columns.values())
    frame = pl.concat(with_equal_ids([part.frame() for part in columns.values()])).drop("offset")
    if frame.is_empty():
        raise ClicksError(_empty(settings, skipped, passed_over, spanned=since is not None or until is not None))
    kept = without_repetitions(frame)
    offsets = {span.number: (span.first, span.end) for span in spans}
    return Clicks(kept, settings.clicks_topic, offsets, skipped, repeated=len(frame) - len(kept))


async def _read(
    settings: Settings, since: int | None, until: int | None, progress: Callable[[int, int], None] | None
) -> tuple[list[PartitionSpan], dict[int, ClickColumns]]:
    async with click_consumer(settings, "trainer") as consumer:
        partitions = await click_partitions(consumer, settings)
        consumer.assign(partitions)
        early = None if since is None else max(since - milliseconds(settings.clock_tolerance), 0)
        spans = await open_spans(consumer, partitions, early)
        return spans, await read_spans(consumer, spans, settings, since, until, progress)


def _empty(settings: Settings, skipped: int, passed_over: int, spanned: bool) -> str:
    messages = skipped + passed_over
    held = f"{messages:,} messages, none of them a valid click" if messages else "no clicks"
    where = f" ({passed_over:,} do not meet NEXTCLICK_CLICK_WHERE={settings.click_where!r})" if passed_over else ""
    return (
        f"topic {settings.clicks_topic!r} at {settings.broker} holds {held}{where}"
        f"{' of the given span of time' if spanned else ''}: "
        f"produce some first (`nextclick produce FILE`){', or widen the span' if spanned else ''}"
    )
