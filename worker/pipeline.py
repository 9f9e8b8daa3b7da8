"""The worker's loop: take clicks, recommend on a separate thread, deliver in a fixed order.

While one micro-batch is on the device, the clicks of the next one gather, and earlier ones are being delivered. Each
batch is delivered in this order, and steps 2 to 4 of a batch come after those of the batch before it:

    1 answers produced and acknowledged → 2 changelog acknowledged → 3 RocksDB written → 4 offsets marked for commit

An answer never waits for a state to be stored. A state is stored only after its answers are acknowledged, RocksDB is
never ahead of the changelog, and a committed offset is never ahead of the stored states. Redelivery of the
clicks repairs a crash between any two steps.
"""

import asyncio
import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic, time
from typing import ClassVar

import torch
from faust.types import TP

from messaging.record_time import LOG_APPEND_TIME
from schemas.click_decoder import click_decoder
from schemas.durations import milliseconds
from schemas.errors import BrokerError, NewerStateError, StateError
from schemas.settings import Settings
from worker.batch_stages import BatchStages
from worker.delivery.app import DeliveryApp
from worker.delivery.publisher import OutgoingRecord
from worker.delivery.records import RecordBatch
from worker.delivery.resume import PartitionLog
from worker.latency import LatencyHistogram
from worker.live_metrics import LiveEvaluation, ShadowComparison
from worker.microbatch import MicroBatch, decode, encode_answers
from worker.recommender import Outcome, PendingClick, Recommender
from worker.reject_log import RejectLog
from worker.rejects import smaller_copy
from worker.serving_model import ServingModel
from worker.session_state import SessionState, counts_in, new_session, unpack
from worker.skipped import SkippedClicks

log = logging.getLogger(__name__)

MAX_UNDER_WAY = 4
"""Most micro-batches being delivered at a time: two keep the device busy, four also cover a short pause."""

FEW_CLICKS = 32
"""Up to this many clicks are computed on the event loop (1 to 2 ms): a hop to another thread and back costs more."""

GATHER_SHARE = 0.06
"""Share of the latency objective: the longest time that clicks gather while the previous answers are not acknowledged.
The default is 3 of 50 ms, which gives the lowest median at 1,000 clicks a second."""

SWEEP_SECONDS = 600.0
"""Longest pause between two sweeps over all stored sessions; a sweep over a million costs a few seconds of CPU."""

SWEEP_KEYS = 500
"""States that a sweep reads before it yields to the event loop: about a millisecond."""


@dataclass
class _InFlight:
    """A state changed by a batch in flight: newer than the one in RocksDB until `batch` is stored."""

    state: SessionState
    batch: MicroBatch


class Pipeline:
    """Connects source, recommender, publisher and store of one worker.

    Attributes:
        counts: how often each event in COUNTS happened since the start.
        live: Recall@20 and MRR@20 of the answers, labelled by the clicks that followed them.
        comparison: the same for the model and its shadow, on the clicks that both had ranked.
        skipped: tells how many clicks came again.
        rejects: counts rejected messages by reason, and tells them.
        latency: seconds from a click to the acknowledgement of its answer.
        stages: size of the batches, and the time that each stage takes.
        evidence_told_at: when evidence was last published, seconds since 1970 UTC; None: not yet.
    """

    COUNTS: ClassVar[dict[str, str]] = {
        "clicks_answered": "Clicks that were answered",
        "clicks_redelivered": "Clicks that came again and were skipped",
        "clicks_rejected": "Messages that are no click",
        "passed_over": "Messages that are no clicks by NEXTCLICK_CLICK_WHERE",
        "clicks_dropped": "Clicks given up because the group may have given them to another worker",
        "clicks_too_old": "Clicks applied without an answer, older than NEXTCLICK_ANSWER_MAX_AGE",
        "headers_left_out": "Answers without the headers of their click, which were too large",
        "sessions_expired": "Sessions whose life was over",
        "states_unreadable": "Session states that could not be read",
        "micro_batches": "Forward passes over a batch of clicks",
    }

    def __init__(self, app: DeliveryApp, settings: Settings, recommender: Recommender) -> None:
        self.counts: Counter[str] = Counter()
        self.live = LiveEvaluation()
        self.comparison = ShadowComparison()
        self.skipped = SkippedClicks()
        self.rejects = RejectLog()
        self.latency = LatencyHistogram()
        self.stages = BatchStages()
        self.evidence_told_at: float | None = None
        self._app = app
        self._settings = settings
        self._recommender = recommender
        self._tolerance_ms = milliseconds(settings.clock_tolerance)
        self._passed_headers = settings.passed_headers
        self._decode_message = click_decoder(settings)
        max_age = settings.answer_max_age
        self._max_age_ms = None if max_age is None else milliseconds(max_age)
        self._device = ThreadPoolExecutor(
            1, thread_name_prefix="device", initializer=torch.set_num_threads, initargs=(settings.torch_threads,)
        )
        self._in_flight: dict[tuple[int, bytes], _InFlight] = {}
        self._deliveries: set[asyncio.Task[None]] = set()
        self._last_delivery: asyncio.Task[None] | None = None
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._epoch = 0
        self._longest_gather = settings.latency_objective.total_seconds() * GATHER_SHARE
        self._exchanges: list[Callable[[], None]] = []
        self._return: asyncio.Task[None] | None = None
        app.finish_deliveries = self.finish

    def swap_champion(self, model: ServingModel) -> None:
        """Serve with another model from the next micro-batch on.

        A session's memory is rebuilt at its next click, unless the new model is a refresh with the same network.
        """
        self._exchange("model", model)

    def swap_shadow(self, model: ServingModel | None) -> None:
        """Score another shadow model, or None for no shadow, from the next micro-batch on."""
        self._exchange("shadow", model)

    @property
    def under_way(self) -> int:
        """Batches that were computed and are not stored yet."""
        return len(self._deliveries)

    def _exchange(self, role: str, model: ServingModel | None) -> None:
        def exchange() -> None:
            before: ServingModel | None = getattr(self._recommender, role)
            setattr(self._recommender, role, model)
            if before is None or model is None or before.network_version != model.network_version:
                self.comparison.begin()

        self._exchanges.append(exchange)

    async def finish(self) -> None:
        """Wait until every micro-batch that was taken is stored or dropped."""
        await self._idle.wait()

    async def run(self) -> None:
        """Take and process micro-batches until the worker shuts down."""
        while True:
            self._set_busy(False)
            try:
                taken = await self._app.source.take(self._settings.max_batch)
            except StopAsyncIteration:
                return
            self._set_busy(True)
            self.stages.wait.observe(monotonic() - min(records.arrived for records in taken))
            while self._exchanges:
                self._exchanges.pop(0)()
            batch = self._decode(taken)
            self._attach_states(batch)
            outcome = await self._recommend(batch)
            if batch.epoch != self._epoch:
                continue
            for place, state in batch.states.items():
                self._in_flight[place] = _InFlight(state, batch)
            await self._start_delivery(batch, outcome)
            await self._gather(batch)

    def _decode(self, taken: Sequence[RecordBatch]) -> MicroBatch:
        clock = self._app.clock
        for records in taken:
            newest = records.records[-1]
            if newest.timestamp_type == LOG_APPEND_TIME:
                clock.reached(newest.timestamp)
        oldest = 0 if self._max_age_ms is None else clock.now_ms() - self._max_age_ms
        logs = self._app.source.logs
        return decode(taken, self._epoch, self._tolerance_ms, self._passed_headers, oldest, logs, self._decode_message)

    async def _recommend(self, batch: MicroBatch) -> Outcome:
        now_ms = self._app.clock.now_ms()
        if len(batch.clicks) <= FEW_CLICKS:
            return self._recommender.recommend(batch.clicks, now_ms)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._device, self._recommender.recommend, batch.clicks, now_ms)

    async def _gather(self, batch: MicroBatch) -> None:
        """Wait until the answers of this batch are acknowledged, so that the next batch is larger.

        The connection sends the next answers only after that, so the wait does not delay them. It is bounded by a share
        of the latency objective. There is no wait if the last batch left clicks behind.
        """
        if not self._app.source.more_is_waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(batch.answered.wait(), self._longest_gather)

    async def tell_evidence(self) -> None:
        """Publish the evidence about model and shadow at intervals, for as long as the worker runs.

        If the broker refuses it, clicks are answered all the same.
        """
        settings, told = self._settings, 0
        while True:
            await asyncio.sleep(settings.evidence_interval.total_seconds())
            evidence = self.comparison.evidence(settings.model_name)
            if evidence is not None and sum(evidence.events) != told:
                record = (evidence.key, evidence.model_dump_json().encode(), None)
                try:
                    await self._app.publisher.publish(settings.models_topic, {0: [record]}, lambda: True)
                    told, self.evidence_told_at = sum(evidence.events), time()
                except BrokerError as error:
                    log.error("the evidence about model and shadow is not published: %s", error)

    async def expire_sessions(self) -> None:
        """Delete sessions older than the session life, a few keys at a time, for as long as the worker runs."""
        life_ms = milliseconds(self._settings.session_life)
        pause = min(self._settings.session_life.total_seconds() / 4, SWEEP_SECONDS)
        store = self._app.sessions.data
        while True:
            await asyncio.sleep(pause)
            for partition in store.partitions():
                key: bytes | None = b""
                while key is not None and partition in store.partitions():
                    now_ms = self._app.clock.surely_ms()
                    if now_ms is None:
                        break
                    deleted, key = store.expire(partition, now_ms - life_ms, key, SWEEP_KEYS)
                    self.counts["sessions_expired"] += deleted
                    await asyncio.sleep(0.01)

    def _attach_states(self, batch: MicroBatch) -> None:
        found = batch.states
        missing: dict[int, list[PendingClick]] = defaultdict(list)
        for click in batch.clicks:
            place = (click.partition, click.key)
            if place in found:
                continue
            under_way = self._in_flight.get(place)
            if under_way is not None:
                found[place] = under_way.state
            else:
                found[place] = new_session(click.partition)
                missing[click.partition].append(click)
        for partition, clicks in missing.items():
            stored = self._app.sessions.data.read(partition, [click.key for click in clicks])
            for click, packed in zip(clicks, stored, strict=True):
                if packed is not None:
                    found[partition, click.key] = self._unpacked(click, packed, batch.logs.get(partition))
        for click in batch.clicks:
            click.state = found[click.partition, click.key]

    def _unpacked(self, click: PendingClick, packed: bytes, log_now: PartitionLog | None) -> SessionState:
        try:
            state = unpack(packed)
        except NewerStateError:
            raise  # a newer worker wrote it: starting the session anew would lose its state
        except StateError as error:
            self.counts["states_unreadable"] += 1
            log.warning("session %r in partition %d starts anew: %s", click.key[:64], click.partition, error)
            return new_session(click.partition)
        if log_now is not None and not counts_in(state, log_now.name, max(log_now.end, click.offset)):
            self._app.log_watch.tell_began_anew(state.log, log_now.name)
            state.offset = -1  # no click of this log was applied yet
        return state

    async def _start_delivery(self, batch: MicroBatch, outcome: Outcome) -> None:
        while len(self._deliveries) >= MAX_UNDER_WAY:
            await asyncio.wait(self._deliveries, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._deliver(batch, outcome, self._last_delivery))
        self._last_delivery = task
        self._deliveries.add(task)
        task.add_done_callback(self._delivered)

    async def _deliver(self, batch: MicroBatch, outcome: Outcome, before: asyncio.Task[None] | None) -> None:
        settings, publish = self._settings, self._app.publisher.publish

        def may_go_on() -> bool:
            if batch.epoch == self._epoch and not self._app.consumer.is_member():
                self._abandon_in_flight()
            return batch.epoch == self._epoch

        begin = monotonic()
        try:
            answers, rejected = await asyncio.gather(
                publish(
                    settings.recommendations_topic, encode_answers(batch, outcome), may_go_on, batch.without_headers
                ),
                publish(settings.rejected_topic, batch.rejected, may_go_on, smaller_copy),
            )
        finally:
            batch.answered.set()
        self.stages.produce.observe(monotonic() - begin)
        answered_at = self._app.clock.now_ms() / 1000
        if before is not None and not before.done():
            await asyncio.wait([before])
        if answers is None or rejected is None:
            return
        self._app.after_step("answers")
        self._time(batch, outcome, answered_at)
        states: dict[int, list[OutgoingRecord]] = defaultdict(list)
        for (partition, key), packed in outcome.states.items():
            states[partition].append((key, packed, None))
        begin = monotonic()
        last_offsets = await self._app.changelog.publish(settings.changelog_topic, states, may_go_on)
        if last_offsets is None or not may_go_on():
            return
        self._app.after_step("changelog")
        acknowledged = monotonic()
        self.stages.changelog.observe(acknowledged - begin)
        self._store(states, last_offsets)
        self.stages.store.observe(monotonic() - acknowledged)
        self._app.after_step("states")
        for partition, offset in batch.next_offsets.items():
            log_name = batch.logs[partition].name if partition in batch.logs else ""
            self._app.consumer.stored(TP(settings.clicks_topic, partition), offset, log_name, batch.newest[partition])
        self._app.after_step("offsets")
        for place in batch.states:
            if self._in_flight[place].batch is batch:
                del self._in_flight[place]
        self._count(batch, outcome)

    def _store(self, states: Mapping[int, Sequence[OutgoingRecord]], last_offsets: Mapping[int, int]) -> None:
        """Write states that the changelog has. If it has lost others, write all of them to it again."""
        store = self._app.sessions.data
        go_on = [store.write(partition, records, last_offsets[partition]) for partition, records in states.items()]
        if not all(go_on):
            self._app.recover_anew()

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        self._set_busy(self._busy)
        self._app.fail_with(task)

    def _abandon_in_flight(self) -> None:
        """Drop the batches in flight and go back to the stored states: other workers may own the partitions by now."""
        self.counts["clicks_dropped"] += len(self._in_flight)
        log.warning(
            "no heartbeat answered within the group time-out: dropping %d clicks under way", len(self._in_flight)
        )
        self._epoch += 1
        self._in_flight.clear()
        self._app.source.halt()
        self._return = asyncio.create_task(self._rewind_to_committed())
        self._return.add_done_callback(self._app.fail_with)

    async def _rewind_to_committed(self) -> None:
        """Wait until this worker is a member again. Without a rebalance meanwhile, go back to the committed offsets."""
        generation = self._app.consumer_generation_id
        while not self._app.consumer.is_member():
            await asyncio.sleep(0.1)
        await self._app.consumer.commit()
        if generation == self._app.consumer_generation_id:
            await self._app.consumer.perform_seek()

    def _set_busy(self, busy: bool) -> None:
        self._busy = busy
        if busy or self._deliveries:
            self._idle.clear()
        else:
            self._idle.set()

    def _time(self, batch: MicroBatch, outcome: Outcome, answered_at: float) -> None:
        """Count the latency of every answered click; `answered_at` is in seconds since 1970."""
        times = [moment for moment, answer in zip(batch.taken_in, outcome.answers, strict=True) if answer is not None]
        self.latency.observe(times, answered_at)

    def _count(self, batch: MicroBatch, outcome: Outcome) -> None:
        self.counts["micro_batches"] += 1
        answered = sum(answer is not None for answer in outcome.answers)
        self.counts["clicks_answered"] += answered
        self.counts["clicks_too_old"] += outcome.too_old
        self.counts["headers_left_out"] += batch.headers_left_out
        came_again = len(outcome.answers) - answered - outcome.too_old
        self.counts["clicks_redelivered"] += came_again
        self.skipped.add(came_again, any(not known.noted for known in batch.logs.values()))
        self.counts["passed_over"] += batch.passed_over
        self.counts["clicks_rejected"] += sum(map(len, batch.rejected.values()))
        self.rejects.add(batch.reasons, batch.first_rejects)
        self.stages.clicks.observe(len(batch.clicks))
        self.stages.step.observe(outcome.step_seconds)
        self.stages.score.observe(outcome.score_seconds)
        self.live.add(outcome.labels)
        self.comparison.add(outcome.duels)
