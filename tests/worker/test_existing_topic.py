"""A clicks topic that other programs write: a worker, training, archive and replay understand it in the same way."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from clicklog.log import open_log
from clicklog.topic_reader import read_click_topic
from schemas.errors import ClicksError
from schemas.settings import Settings
from tests.worker.deployment import START, Deployment
from tests.worker.test_serving import metrics

pytestmark = pytest.mark.kafka

FORM = {
    "click_fields": "session_id=user.sid,item_id=payload.sku,timestamp=ts,event=type",
    "click_time": "iso8601",
    "click_where": "type=view,cart; user.kind=person",
}


def event(session: Any, item: Any, second: int, kind: str = "view", who: str = "person") -> bytes:
    return json.dumps(
        {
            "type": kind,
            "user": {"sid": session, "kind": who, "agent": "Mozilla"},
            "payload": {"sku": item, "price": 12.5},
            "ts": f"2023-11-14T22:13:{20 + second}+00:00",
        }
    ).encode()


LONG, INT = (7).to_bytes(8, "big"), (7).to_bytes(4, "big")

MESSAGES: list[tuple[bytes | None, bytes | None]] = [
    (b"a7", event("a7", 10, 0)),
    (b'"a7"', event("a7", 11, 1, "cart")),
    (LONG, event(7, 20, 2)),
    (b"a7", event("a7", 99, 3, "order")),
    (INT, event("7", 21, 4)),
    (b"7", event(7, 22, 5)),
    (b"a7", event("a7", 99, 6, who="robot")),
    (None, b'{"type": "heartbeat"}'),
    (b"x", None),
    (b"a7", json.dumps({"type": "view", "user.kind": "person", "user.sid": "a7", "payload": {"sku": 12}}).encode()),
    (b"b8", event("a7", 13, 8)),
    (b"a7", b"{"),
    (b'"a7"', event("a7", 14, 9)),
]
CLICKS = {0: ("a7", 10, 0), 1: ("a7", 11, 1), 2: (7, 20, 2), 4: ("7", 21, 4), 5: (7, 22, 5), 12: ("a7", 14, 9)}
"""Offset of each click → session, item, second."""

REASONS = {
    9: "the message has no ts, which is its timestamp",
    10: "the message's key 'b8' is not the session id 'a7'",
    11: "not valid JSON: Input data was truncated",
}
PASSED_OVER = {3, 6, 7, 8}


@pytest.fixture
def deployment(kafka_settings: Settings, tmp_path: Path) -> Any:
    """All messages are in partition 0, whatever their keys."""
    deployment = Deployment(kafka_settings.model_copy(update=FORM), tmp_path)

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka_settings.brokers) as producer:
            for key, value in MESSAGES:
                await producer.send_and_wait(kafka_settings.clicks_topic, value, key=key, partition=0)

    asyncio.run(send())
    yield deployment
    deployment.close()


def test_a_worker_answers_the_clicks_of_the_topic(deployment: Deployment, free_port: int) -> None:
    settings = deployment.settings
    deployment.start(web=True, NEXTCLICK_WEB_PORT=str(free_port))
    deployment.wait_for_answers(len(CLICKS))
    deployment.wait_until(lambda: len(deployment.states()) == 2, "the states")
    answers = {
        int(answer.json["id"].split("-")[1]): answer for answer in deployment.read(settings.recommendations_topic)
    }
    found = {
        offset: (answer.json["session_id"], answer.json["item_id"], (answer.json["timestamp"] - START) // 1000)
        for offset, answer in answers.items()
    }
    assert found == CLICKS
    assert {offset: answer.key for offset, answer in answers.items()} == {
        offset: MESSAGES[offset][0] for offset in CLICKS
    }
    assert {answer.partition for answer in answers.values()} == {0}
    states = deployment.states()
    assert {key: state.history for key, state in states.items()} == {b"a7": [10, 11, 14], b"7": [20, 21, 22]}
    rejected = deployment.read(settings.rejected_topic)
    assert {int(message.headers["offset"]): message.headers["reason"].decode() for message in rejected} == REASONS
    page = metrics(free_port)
    assert page["nextclick_passed_over_total",] == len(PASSED_OVER)
    assert page["nextclick_clicks_rejected_total",] == len(REASONS)


def test_training_archive_and_replay_read_the_same_clicks(deployment: Deployment, command_line: Any) -> None:
    settings = deployment.settings.model_copy(update={"archive_uri": str(deployment.directory / "archive")})
    read = read_click_topic(settings)
    expected = [(str(session), str(item), START + 1000 * second) for session, item, second in CLICKS.values()]
    assert [(str(s), str(i), t) for s, i, t in read.frame.rows()] == expected
    assert read.skipped == len(REASONS)

    code, output, _ = command_line.run("archive", "--once", settings=settings)
    assert (code, "skipped 3 messages" in output) == (0, True)
    with open_log(settings) as log:
        archived = log.frame().select("session_id", "item_id", "timestamp", "offset").rows()
    assert [(str(s), str(i), t, o) for s, i, t, o in archived] == [
        (*click, offset) for click, offset in zip(expected, CLICKS, strict=True)
    ]

    code, output, _ = command_line.run("replay", "--name", "again", settings=settings)
    assert code == 0
    assert "answered 6 clicks again by popularity, skipped 3 messages" in output

    nothing = settings.model_copy(update={"click_where": "type=viewed"})
    with pytest.raises(ClicksError, match="12 do not meet NEXTCLICK_CLICK_WHERE='type=viewed'"):
        read_click_topic(nothing)


def test_what_produce_writes_in_the_form_of_the_topic_is_read(deployment: Deployment, command_line: Any) -> None:
    file = deployment.directory / "clicks.csv"
    file.write_text("session_id,item_id,timestamp\nz,1,1700000000250\nz,2,1700000001500\n")
    code, _, errors = command_line.run("produce", str(file), settings=deployment.settings)
    assert (code, errors) == (0, "")
    rows = [row for row in read_click_topic(deployment.settings).frame.rows() if row[0] == "z"]
    assert rows == [("z", 1, 1_700_000_000_250), ("z", 2, 1_700_000_001_500)]

    by_record = deployment.settings.model_copy(update={"click_fields": "", "click_time": "record"})
    code, _, errors = command_line.run("produce", str(file), settings=by_record)
    assert code == 1
    assert "they would all be clicks of now" in errors
