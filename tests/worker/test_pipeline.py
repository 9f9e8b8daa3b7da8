"""The worker's loop without Kafka and Faust: what is produced and stored, in which order, and when it is given up."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from faust.types import TP

from schemas.settings import Settings
from worker.delivery.broker_clock import BrokerClock
from worker.delivery.publisher import OutgoingRecord
from worker.delivery.records import RecordBatch
from worker.delivery.resume import PartitionLog
from worker.pipeline import Pipeline
from worker.recommender import Label, PairedLabel, Recommender
from worker.session_state import new_session, pack, unpack

SETTINGS = Settings(_env_file=None, session_life="1h", evidence_interval="1ms")
NAMES = {
    SETTINGS.recommendations_topic: "answers",
    SETTINGS.rejected_topic: "rejects",
    SETTINGS.changelog_topic: "changelog",
    SETTINGS.models_topic: "evidence",
}


class App:
    """What the pipeline uses of the app. `steps` tells what was done, in order."""

    settings = SETTINGS
    consumer_generation_id = 1

    def __init__(self) -> None:
        self.clock = BrokerClock()
        self.steps: list[str] = []
        self.packed: dict[bytes, bytes] = {}
        self.produced: dict[str, list[OutgoingRecord]] = {}
        self.is_member = True
        self.excluded_after = ""  # the step after which the group has excluded this worker
        self.pauses: list[float] = []  # before the answers of each batch are acknowledged, seconds
        self.fetched: list[RecordBatch] = []
        self.failures: list[BaseException | None] = []
        self.logs: dict[int, PartitionLog] = {}
        self.changelog_lost = False
        self.expired: list[tuple[int, bytes]] = []
        self.source = SimpleNamespace(take=self._take, more_is_waiting=True, logs=self.logs, halt=lambda: None)
        self.consumer: Any = SimpleNamespace(
            is_member=lambda: self.is_member, stored=self._stored, commit=_nothing, perform_seek=_nothing
        )
        self.publisher = self.changelog = SimpleNamespace(publish=self._publish)
        store = SimpleNamespace(read=self._read, write=self._write, expire=self._expire, partitions=lambda: [0])
        self.sessions = SimpleNamespace(data=store)
        self.log_watch = SimpleNamespace(tell_began_anew=lambda _old, new: self.steps.append(f"began anew: {new}"))

    def after_step(self, step: str) -> None:
        """Where tests of crashes end the process."""

    def fail_with(self, task: "asyncio.Task[None]") -> None:
        self.failures += [None if task.cancelled() else task.exception()]

    async def _take(self, _limit: int) -> list[RecordBatch]:
        if not self.fetched:
            raise StopAsyncIteration
        return [self.fetched.pop(0)]

    async def _publish(
        self, topic: str, records: Mapping[int, Sequence[OutgoingRecord]], may_go_on: Callable[[], bool], *_: object
    ) -> dict[int, int] | None:
        name = NAMES[topic]
        if not may_go_on():
            return None
        if name == "answers" and self.pauses:
            await asyncio.sleep(self.pauses.pop(0))
        if any(records.values()):
            self.steps.append(name)
            self.produced.setdefault(name, []).extend(record for batch in records.values() for record in batch)
        self.is_member = self.is_member and name != self.excluded_after
        return dict.fromkeys(records, 70)

    def _read(self, _partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.packed.get(key) for key in keys]

    def _write(self, partition: int, records: Sequence[OutgoingRecord], offset: int) -> bool:
        self.steps.append(f"states of {partition} up to {offset}")
        self.packed |= {key: packed for key, packed, _ in records if key is not None and packed is not None}
        return not self.changelog_lost

    def recover_anew(self) -> None:
        self.steps.append("recover anew")

    def _stored(self, tp: TP, offset: int, log: str, _newest: int) -> None:
        self.steps.append(f"offset {offset} of {tp.topic} {tp.partition} in {log!r}")

    def _expire(self, _partition: int, before: int, after: bytes, limit: int) -> tuple[int, bytes | None]:
        self.expired.append((before, after))
        return limit, (None if after else b"next")


async def _nothing() -> None:
    pass


def clicks(first: int, *items: int, session: bytes = b"s") -> RecordBatch:
    """Clicks of one session as they were fetched."""
    now = round(time.time() * 1000)
    records = [
        ConsumerRecord(
            "clicks", 0, offset, now, 1, session,
            json.dumps({"session_id": session.decode(), "item_id": item, "timestamp": now}).encode(),
            None, 0, 0, [],
        )
        for offset, item in enumerate(items, first)
    ]  # fmt: skip
    return RecordBatch("clicks", 0, 1, records)


@pytest.fixture
def app() -> App:
    return App()


def pipeline_of(app: App) -> Pipeline:
    return Pipeline(app, SETTINGS, Recommender(gap_ms=1_800_000, history=5))  # type: ignore[arg-type]


async def run(app: App, *fetched: RecordBatch) -> Pipeline:
    """Answer these batches, one micro-batch each."""
    pipeline = pipeline_of(app)
    app.fetched = list(fetched)
    await asyncio.wait_for(pipeline.run(), 10)
    await asyncio.wait_for(pipeline.finish(), 10)
    return pipeline


async def test_states_follow_the_answers_and_offsets_follow_the_states(app: App) -> None:
    before = time.time()
    pipeline = await run(app, clicks(0, 7, 8))
    assert app.steps == ["answers", "changelog", "states of 0 up to 70", "offset 2 of clicks 0 in ''"]
    assert [json.loads(value or b"")["id"] for _, value, _ in app.produced["answers"]] == ["0-0", "0-1"]
    state = unpack(app.packed[b"s"])
    assert (state.offset, state.history) == (1, [7, 8])
    assert before - 1 < state.stored_at / 1000 < time.time() + 1  # the session life counts from here
    assert pipeline.counts["clicks_answered"] == 2
    assert app.failures == [None]


async def test_a_batch_whose_answers_are_acknowledged_first_waits_with_its_states(app: App) -> None:
    app.pauses = [0.05, 0.0]
    pipeline = await run(app, clicks(0, 7), clicks(1, 8))
    assert [step for step in app.steps if step.startswith("offset")] == [
        "offset 1 of clicks 0 in ''",
        "offset 2 of clicks 0 in ''",
    ]
    assert unpack(app.packed[b"s"]).history == [7, 8]  # the second batch went on from the state of the first
    assert not pipeline._in_flight


async def test_a_worker_that_is_no_member_any_more_stores_nothing(app: App) -> None:
    app.excluded_after = "changelog"
    pipeline = pipeline_of(app)
    app.fetched = [clicks(0, 7)]
    await asyncio.wait_for(pipeline.run(), 10)
    await asyncio.wait_for(pipeline.finish(), 10)
    assert app.steps == ["answers", "changelog"]
    assert pipeline.counts["clicks_dropped"] == 1
    assert pipeline.counts["clicks_answered"] == 0
    assert pipeline._return is not None
    pipeline._return.cancel()


@pytest.mark.parametrize("offset", [0, 3])
async def test_every_click_of_a_log_that_began_anew_is_answered(app: App, offset: int) -> None:
    known = new_session(0)
    known.offset, known.log, known.history, known.clicked_at = 9, "old", [1], round(time.time() * 1000)
    app.packed[b"s"] = pack(known)
    app.logs[0] = PartitionLog("new", 5)
    pipeline = await run(app, clicks(offset, 7))
    assert pipeline.counts["clicks_answered"] == 1
    assert unpack(app.packed[b"s"]).history == [1, 7]
    assert app.steps[0] == "began anew: new"


async def test_states_that_the_changelog_has_lost_are_recovered_anew(app: App) -> None:
    app.changelog_lost = True
    await run(app, clicks(0, 7))
    assert "recover anew" in app.steps


async def test_a_click_that_comes_again_is_skipped(app: App) -> None:
    await run(app, clicks(0, 7, 8))
    app.steps.clear()
    pipeline = await run(app, clicks(0, 7, 8))
    assert app.steps == ["offset 2 of clicks 0 in ''"]
    assert pipeline.counts["clicks_redelivered"] == 2


async def test_sessions_are_expired_by_the_time_at_which_they_were_stored(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.pipeline.SWEEP_SECONDS", 0.0)
    app.clock.acknowledged(None)
    pipeline = pipeline_of(app)
    sweep = asyncio.create_task(pipeline.expire_sessions())
    while len(app.expired) < 2:
        assert not sweep.done()
        await asyncio.sleep(0.001)
    sweep.cancel()
    hour_ago = time.time() - 3600
    (first, begin), (_, then) = app.expired[:2]
    assert (begin, then) == (b"", b"next")
    assert hour_ago - 60 < first / 1000 <= hour_ago
    assert pipeline.counts["sessions_expired"] >= 500


async def test_evidence_is_published_when_there_is_more_of_it(app: App) -> None:
    pipeline = pipeline_of(app)
    telling = asyncio.create_task(pipeline.tell_evidence())
    await asyncio.sleep(0.02)
    assert not telling.done()
    assert app.steps == []  # no shadow
    for count in (1, 2):
        pipeline.comparison.add([PairedLabel(b"s", Label("v1", "model", 1), Label("v2", "model", 0))])
        while len(app.steps) < count:
            assert not telling.done()
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert app.steps == ["evidence"] * count  # the same counts are not published again
    telling.cancel()
    key, value, _ = app.produced["evidence"][-1]
    assert value is not None
    assert sum(json.loads(value)["events"]) == 2
    assert key is not None
