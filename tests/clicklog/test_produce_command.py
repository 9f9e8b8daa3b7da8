import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from clicklog.topic_writer import send_clicks
from schemas.click import Click, decode_click
from schemas.settings import Settings

Record = ConsumerRecord[bytes, bytes]


def clicks_on_topic(settings: Settings) -> list[Record]:
    """All messages of the clicks topic, ordered by partition."""

    async def read() -> list[Record]:
        consumer = AIOKafkaConsumer(bootstrap_servers=settings.broker, auto_offset_reset="earliest")
        await consumer.start()
        partitions = [TopicPartition(settings.clicks_topic, number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[Record] = []
        while len(records) < sum(ends.values()):
            for batch in (await consumer.getmany(timeout_ms=1000)).values():
                records.extend(batch)
        await consumer.stop()
        return sorted(records, key=lambda record: (record.partition, record.offset))

    return asyncio.run(read())


def test_a_file_arrives_in_time_order_under_the_session_key(
    command_line: Any, kafka_settings: Settings, tmp_path: Path
) -> None:
    # 300 interleaved sessions in shuffled rows; two clicks of a session at the same time keep their row order
    frame = pl.DataFrame(
        {
            "session_id": [row % 300 for row in range(6000)],
            "item_id": [f"item-{row}" for row in range(6000)],
            "timestamp": [1_600_000_000_000 + (row // 600) * 1000 for row in range(6000)],
            "split": ["train" if row % 300 else "test" for row in range(6000)],
        }
    )
    earlier_last = frame.sort("timestamp", descending=True, maintain_order=True)
    earlier_last.write_parquet(tmp_path / "clicks.parquet")
    begin = time.time() * 1000
    code, output, errors = command_line.run("produce", "clicks.parquet", "--split", "train", settings=kafka_settings)
    assert (code, errors) == (0, "")
    assert output.startswith("sent 5,980 of 5,980 clicks of clicks.parquet")

    records = clicks_on_topic(kafka_settings)
    expected = frame.filter(pl.col("split") == "train").drop("split")
    received: dict[int, list[tuple[str, int]]] = {}
    numbers = list(range(kafka_settings.partitions))
    for record in records:
        click = Click.model_validate_json(record.value or b"")
        assert record.key == str(click.session_id).encode()
        assert record.partition == DefaultPartitioner()(record.key, numbers, numbers)
        assert set(json.loads(record.value or b"")) == {"session_id", "item_id", "timestamp"}
        assert begin - 1000 <= record.timestamp <= time.time() * 1000
        assert isinstance(click.session_id, int)
        received.setdefault(click.session_id, []).append((str(click.item_id), click.timestamp))  # type: ignore[arg-type]
    for (session,), rows in expected.group_by("session_id", maintain_order=True):
        assert received.pop(session) == list(zip(rows["item_id"], rows["timestamp"], strict=True))  # type: ignore[arg-type]
    assert received == {}


def test_clicks_without_times_go_in_row_order_stamped_with_now(
    command_line: Any, kafka_settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "clicks.csv").write_text("session_id,item_id,timestamp\nb,30,\na,10,\nb,20,\nb,10,\n")
    begin = time.time() * 1000
    assert command_line.run("produce", "clicks.csv", settings=kafka_settings)[0] == 0
    clicks = [decode_click(record.key, record.value) for record in clicks_on_topic(kafka_settings)]
    assert [click.item_id for click in clicks if click.session_id == "b"] == [30, 20, 10]
    assert all(begin - 1 <= click.timestamp <= time.time() * 1000 for click in clicks)  # type: ignore[operator]


@pytest.mark.alone
@pytest.mark.xdist_group("alone")
async def test_a_rate_is_kept(kafka_settings: Settings) -> None:
    frame = pl.DataFrame({"session_id": range(600), "item_id": range(600), "timestamp": range(600)})
    begin = time.monotonic()
    assert await send_clicks(kafka_settings, frame, rate=400) == 600
    assert 1.4 < time.monotonic() - begin < 2.5


@pytest.mark.alone
@pytest.mark.xdist_group("alone")
def test_full_speed_is_at_least_50_000_clicks_a_second(kafka_settings: Settings) -> None:
    frame = pl.DataFrame({"session_id": range(200_000), "item_id": range(200_000), "timestamp": range(200_000)})
    begin = time.monotonic()
    assert asyncio.run(send_clicks(kafka_settings, frame)) == 200_000
    assert time.monotonic() - begin < 4


def test_ctrl_c_stops_and_says_how_many_were_sent(command_line: Any, kafka_settings: Settings, tmp_path: Path) -> None:
    rows = range(100_000)
    pl.DataFrame({"session_id": rows, "item_id": rows, "timestamp": rows}).write_parquet(tmp_path / "clicks.parquet")
    command = command_line.start("produce", "clicks.parquet", "--rate", "500", settings=kafka_settings)
    deadline = time.monotonic() + 20
    while not clicks_on_topic(kafka_settings) and time.monotonic() < deadline:
        time.sleep(0.2)
    command.send_signal(signal.SIGINT)
    output, errors = command.communicate(timeout=20)
    records = clicks_on_topic(kafka_settings)
    assert (command.returncode, errors) == (130, "")
    assert output.startswith(f"sent {len(records):,} of 100,000 clicks")
    assert sorted(int(record.key or b"") for record in records) == list(range(len(records)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.parquet"], "nowhere.parquet does not exist"),
        (["narrow.csv"], "narrow.csv has no column item_id"),
        (["clicks.csv", "--split", "tset"], "no split 'tset': it has test, train"),
        (["garbage.parquet"], "garbage.parquet cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line(
    command_line: Any, arguments: list[str], message: str, bare_settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "narrow.csv").write_text("session_id,timestamp\n1,2\n")
    (tmp_path / "garbage.parquet").write_bytes(b"no parquet at all")
    (tmp_path / "clicks.csv").write_text("session_id,item_id,timestamp,split\n1,2,3,train\n1,3,4,test\n")
    code, output, errors = command_line.run("produce", *arguments, settings=bare_settings)
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert message in errors


def test_a_missing_topic_says_how_to_create_it(command_line: Any, bare_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "clicks.csv").write_text("session_id,item_id,timestamp\n1,2,3\n")
    code, _, errors = command_line.run("produce", "clicks.csv", settings=bare_settings)
    assert code == 1
    assert f"no topic '{bare_settings.clicks_topic}': create what is missing by `nextclick topics`" in errors


def test_recommendations_are_printed_as_they_arrive(command_line: Any, kafka_settings: Settings) -> None:
    def answer(session: int, item: int) -> bytes:
        fields = {"id": f"0-{item}", "session_id": session, "item_id": item, "timestamp": 1_600_000_000_000}
        return json.dumps(
            {**fields, "items": [7, 8], "scores": [2.0, 1.0], "model_version": "v1", "source": "model"}
        ).encode()

    async def send(*answers: tuple[int, bytes]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka_settings.broker)
        await producer.start()
        for session, value in answers:
            await producer.send_and_wait(kafka_settings.recommendations_topic, value, key=b"%d" % session, partition=0)
        await producer.stop()

    asyncio.run(send((1, answer(1, 100))))
    late = command_line.start("recommendations", settings=kafka_settings)
    whole = command_line.start(
        "recommendations", "--from-beginning", "--json", "--session", "1", settings=kafka_settings
    )
    try:
        for command in (late, whole):
            assert command.stderr is not None
            assert "ctrl-C ends" in command.stderr.readline()
        asyncio.run(send((2, answer(2, 200)), (1, b"{}"), (1, answer(1, 300))))
        assert late.stdout is not None
        assert whole.stdout is not None
        printed = [late.stdout.readline(), late.stdout.readline()]
        assert printed == [
            "2020-09-13 12:26:40 session 2 clicked 200 → 7, 8 (model v1)\n",
            "2020-09-13 12:26:40 session 1 clicked 300 → 7, 8 (model v1)\n",
        ]
        assert [json.loads(whole.stdout.readline())["item_id"] for _ in range(2)] == [100, 300]
        for command in (late, whole):
            command.send_signal(signal.SIGINT)
            assert command.wait(20) == 0
            assert command.stderr is not None
            errors = command.stderr.read()
            assert errors.startswith("no recommendation at partition 0 offset 2")
            assert errors.count("\n") == 1
    finally:
        late.kill()
        whole.kill()
