"""The latency histogram: every click counts, by a clock that the producer does not set."""

from collections.abc import Iterable
from random import Random

import msgspec
import pytest
from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from worker.delivery.records import RecordBatch
from worker.latency import BUCKETS, LatencyHistogram
from worker.microbatch import decode

NOW = 1_800_000_000_000
LAST_YEAR = NOW - 365 * 86_400_000
CREATE_TIME, LOG_APPEND_TIME = 0, 1


def page(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """(name, bound) → value, as Prometheus reads it."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def both(batches: Iterable[list[int]]) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
    """The pages of this histogram and of Prometheus's own after the same latencies, in ms."""
    mine, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = LatencyHistogram()
    mine.register(histogram)
    reference = Histogram("nextclick_latency_seconds", "Click to answer", registry=theirs, buckets=BUCKETS)
    for batch in batches:
        histogram.observe([NOW - latency for latency in batch], NOW / 1000)
        for latency in batch:
            reference.observe(NOW / 1000 - (NOW - latency) / 1000)
    pages = page(mine), page(theirs)
    created = [each.pop(("nextclick_latency_seconds_created",)) for each in pages]
    assert created[0] == pytest.approx(created[1], abs=1)
    return pages


def test_it_counts_as_a_histogram_of_prometheus() -> None:
    rng = Random(1)
    batches = [[round(rng.lognormvariate(3, 2)) for _ in range(size)] for size in (1, 0, 300, 7)]
    bounds = [round(bound * 1000) for bound in BUCKETS]
    mine, theirs = both([*batches, bounds, [50] * 20])
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        assert mine[name] == pytest.approx(value), name
    assert mine["nextclick_latency_seconds_count",] == 308 + len(bounds) + 20


def test_a_latency_of_a_buckets_bound_is_in_the_bucket() -> None:
    registry, histogram = CollectorRegistry(), LatencyHistogram()
    registry.register(histogram)
    histogram.observe([0], 2.0)
    assert page(registry)["nextclick_latency_seconds_bucket", "2.0"] == 1
    assert page(registry)["nextclick_latency_seconds_bucket", "1.0"] == 0


def test_before_the_first_click_and_with_clocks_that_differ_it_is_zero() -> None:
    mine, theirs = both([])
    assert mine == theirs
    registry, histogram = CollectorRegistry(), LatencyHistogram()
    registry.register(histogram)
    histogram.observe([NOW + 5000], NOW / 1000)
    assert page(registry)["nextclick_latency_seconds_sum",] == 0
    assert page(registry)["nextclick_latency_seconds_bucket", "0.002"] == 1


def record(offset: int, time: int, time_type: int, value: bytes | None = None) -> "ConsumerRecord[bytes, bytes]":
    click = msgspec.json.encode({"session_id": "s", "item_id": offset, "timestamp": 1000})
    return ConsumerRecord("clicks", 0, offset, time, time_type, b"s", value or click, None, 1, 1, ())


@pytest.mark.parametrize(
    ("time", "time_type", "taken_in"),
    [(NOW - 80, LOG_APPEND_TIME, NOW - 80), (LAST_YEAR, CREATE_TIME, NOW), (-1, CREATE_TIME, NOW)],
)
def test_a_click_waits_from_the_brokers_time_or_from_its_fetch(time: int, time_type: int, taken_in: int) -> None:
    records = [record(offset, time, time_type, b"no click" if offset == 1 else None) for offset in range(4)]
    batch = decode(RecordBatch("clicks", 0, 1, records, fetched_at=NOW).split(1), 0, NOW)
    assert len(batch.clicks) == 3
    assert batch.taken_in == [taken_in] * 3
