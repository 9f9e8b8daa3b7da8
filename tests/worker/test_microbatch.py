"""Decoding: what becomes of a record's headers, and which clicks are too old for an answer."""

import json

import pytest
from aiokafka import ConsumerRecord

from worker.delivery.records import RecordBatch
from worker.delivery.resume import PartitionLog
from worker.microbatch import PASSED_BYTES, MicroBatch, decode

NOW = 1_790_000_000_000
Headers = list[tuple[str, bytes | None]]


def decoded(*headers: Headers, moment: int = NOW, oldest: int = 0) -> MicroBatch:
    """Clicks with these headers, of which `trace` and `tenant` pass."""
    records = [
        ConsumerRecord(
            "clicks", 3, offset, moment, 1, b"s",
            json.dumps({"session_id": "s", "item_id": 7, "timestamp": NOW}).encode(), None, 0, 0, each,
        )
        for offset, each in enumerate(headers, 10)
    ]  # fmt: skip
    logs = {3: PartitionLog("log", 50)}
    return decode([RecordBatch("clicks", 3, 1, records)], 1, NOW + 1, {"trace", "tenant"}, oldest, logs)


def test_named_headers_pass_in_their_order() -> None:
    headers: Headers = [("trace", b"1"), ("other", b"x"), ("trace", None), ("tenant", b"t")]
    batch = decoded(headers, [("other", b"x")], [])
    assert batch.headers == {(3, 10): [("trace", b"1"), ("trace", None), ("tenant", b"t")]}
    assert batch.headers_left_out == 0


@pytest.mark.parametrize(("size", "passes"), [(PASSED_BYTES - 5, True), (PASSED_BYTES - 4, False), (9000, False)])
def test_headers_that_are_too_large_are_left_out_and_counted(size: int, passes: bool) -> None:
    batch = decoded([("trace", b"v" * size)])
    assert ((3, 10) in batch.headers, batch.headers_left_out) == (passes, 0 if passes else 1)
    assert len(batch.clicks) == 1


@pytest.mark.parametrize(
    ("moment", "oldest", "too_old"),
    [
        (NOW, NOW - 1000, False),
        (NOW, NOW, False),
        (NOW - 1001, NOW - 1000, True),
        (0, NOW, True),
        (-1, NOW, False),  # a record without a time is answered
        (NOW - 1001, 0, False),
    ],
)
def test_a_click_is_too_old_by_the_time_of_its_record(moment: int, oldest: int, too_old: bool) -> None:
    (click,) = decoded([], moment=moment, oldest=oldest).clicks
    assert click.too_old is too_old


def test_a_click_knows_its_place_and_its_log() -> None:
    batch = decoded([], [])
    assert [(click.partition, click.offset, click.log) for click in batch.clicks] == [(3, 10, "log"), (3, 11, "log")]
    assert (batch.next_offsets, batch.newest) == ({3: 12}, {3: NOW})
