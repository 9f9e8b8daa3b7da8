"""Headers: those of a trace, and others by setting, pass from a click to its answer; a rejected message keeps all."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from schemas.settings import Settings
from tests.worker.deployment import Deployment, Message
from worker.delivery.publisher import Headers, OutgoingRecord
from worker.delivery.records import RecordBatch
from worker.delivery.resume import PartitionLog
from worker.microbatch import PASSED_BYTES, MicroBatch, decode, encode_answers
from worker.recommender import Outcome, Recommender

NOW = 1_700_000_000_000
TRACE = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
STATE = ("tracestate", b"vendor=1")
TENANT, OTHER = ("tenant", b"north"), ("x-other", b"1")


def click(item: int) -> bytes:
    return msgspec.json.encode({"session_id": "s", "item_id": item, "timestamp": NOW})


def answered(*headers: Headers, pass_headers: str = "") -> tuple[MicroBatch, list[OutgoingRecord]]:
    """The micro-batch of one click for each of these headers, and the answers."""
    records = [
        ConsumerRecord("clicks", 3, offset, NOW, 1, b"s", click(offset), None, 1, 1, tuple(each))
        for offset, each in enumerate(headers)
    ]
    names = Settings(_env_file=None, pass_headers=pass_headers).passed_headers
    batch = decode([RecordBatch("clicks", 3, 1, records)], 0, NOW, names)
    outcome = Recommender(gap_ms=1000, history=9).recommend(batch.clicks, NOW)
    return batch, encode_answers(batch, outcome)[3]


@pytest.mark.parametrize(
    ("pass_headers", "passed"),
    [
        ("", [TRACE, STATE]),
        ("tenant", [TRACE, TENANT, STATE]),
        (" tenant , x-other,", [TRACE, TENANT, OTHER, STATE]),
        ("Tenant", [TRACE, STATE]),
    ],
)
def test_the_trace_and_the_listed_headers_pass_in_their_order(pass_headers: str, passed: Headers) -> None:
    _, answers = answered([TRACE, TENANT, OTHER, STATE], [], [OTHER, TRACE], pass_headers=pass_headers)
    assert [headers for *_, headers in answers][:2] == [passed, None]
    assert TRACE in (answers[2][2] or [])


def test_repeated_and_empty_headers_pass_as_they_are() -> None:
    headers: Headers = [("tenant", b"1"), ("tenant", b"2"), ("tenant", None), ("tenant", b"")]
    _, ((*_, passed),) = answered(headers, pass_headers="tenant")
    assert passed == headers


def test_headers_go_to_the_answer_of_their_click_when_another_is_skipped() -> None:
    records = [
        ConsumerRecord("clicks", 0, offset, NOW, 1, b"s", value, None, 1, 1, (("traceparent", b"%d" % offset),))
        for offset, value in enumerate([click(1), b"no click", click(2), click(3)])
    ]
    batch = decode([RecordBatch("clicks", 0, 1, records)], 0, NOW, {"traceparent"})
    outcome = Recommender(gap_ms=1000, history=9).recommend(batch.clicks, NOW)
    redelivered = Outcome([None, *outcome.answers[1:]])
    sent = [
        (msgspec.json.decode(value or b"")["id"], headers)
        for _, value, headers in encode_answers(batch, redelivered)[0]
    ]
    assert sent == [("0-2", [("traceparent", b"2")]), ("0-3", [("traceparent", b"3")])]


def test_headers_that_are_too_large_are_left_out_and_counted() -> None:
    fits, too_large = [("traceparent", b"x" * (PASSED_BYTES - 11))], [("traceparent", b"x" * (PASSED_BYTES - 10))]
    batch, answers = answered(fits, too_large, [("other", b"x" * 2 * PASSED_BYTES)])
    assert [headers for *_, headers in answers] == [fits, None, None]
    assert batch.headers_left_out == 1


def test_headers_are_left_out_of_an_answer_that_is_too_large_for_its_topic() -> None:
    batch, (with_some, with_none) = answered([TRACE], [])
    assert batch.without_headers(with_some) == (*with_some[:2], None)
    assert batch.without_headers(with_none) is None
    assert batch.headers_left_out == 1


def test_a_rejected_message_keeps_its_headers_and_says_why() -> None:
    given = (TRACE, OTHER, ("reason", b"of its own"), ("empty", None))
    record = ConsumerRecord("clicks", 2, 7, NOW, 1, b"s", b"no click", None, 1, 1, given)
    logs = {2: PartitionLog("A" * 22, 8)}
    ((_, value, headers),) = decode([RecordBatch("clicks", 2, 1, [record])], 0, NOW, logs=logs).rejected[2]
    assert value == b"no click"
    assert headers is not None
    assert tuple(headers[:4]) == given
    assert [name for name, _ in headers[4:]] == ["reason", "topic", "partition", "offset", "log"]
    assert headers[-1] == ("log", b"A" * 22)
    assert (dict(headers)["reason"] or b"").startswith(b"not valid JSON")


@pytest.mark.slow
@pytest.mark.xdist_group("incidents")
@pytest.mark.usefixtures("compiled_scorer")
def test_a_trace_goes_through_kafka(deployment: Deployment) -> None:
    sent: list[tuple[bytes, list[tuple[str, bytes | None]]]] = [
        (click(1), [TRACE, TENANT, OTHER]),
        (click(2), []),
        (b"no click", [TRACE, OTHER, ("empty", None)]),
        (click(3), [("tenant", None)]),
    ]

    async def send(messages: Sequence[tuple[bytes, list[tuple[str, bytes | None]]]]) -> None:
        async with AIOKafkaProducer(bootstrap_servers=deployment.settings.brokers) as producer:
            for value, headers in messages:
                await producer.send_and_wait(deployment.settings.clicks_topic, value, key=b"s", headers=headers)

    def headers(messages: list[Message]) -> list[dict[str, bytes]]:
        return [message.headers for message in sorted(messages, key=lambda message: message.offset)]

    deployment.publish()
    deployment.start(NEXTCLICK_PASS_HEADERS="tenant")
    asyncio.run(send(sent))
    deployment.wait_until_all_answered()
    assert headers(deployment.read(deployment.settings.recommendations_topic)) == [
        dict([TRACE, TENANT]), {}, {"tenant": None},
    ]  # fmt: skip
    (rejected,) = headers(deployment.read(deployment.settings.rejected_topic))
    assert rejected["reason"].startswith(b"not valid JSON")
    assert (rejected["traceparent"], rejected["x-other"], rejected["empty"]) == (TRACE[1], OTHER[1], None)
