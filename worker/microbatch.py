"""Micro-batches: decoding fetched records into clicks, and encoding answers."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from messaging.record_time import taken_in
from schemas.click import DecodeClick, InvalidClickError, decode_click
from schemas.errors import printable
from schemas.recommendation import EncodedRecommendation, encode_recommendation
from worker.delivery.publisher import Headers, OutgoingRecord
from worker.delivery.records import RecordBatch
from worker.delivery.resume import PartitionLog
from worker.recommender import Outcome, PendingClick
from worker.rejects import Reject, kind_of, reject_copy
from worker.session_state import SessionState, new_session

REASON_CHARACTERS_TOLD = 200
"""Longest reason in a line of the log: it may quote what the producer sent."""

PASSED_BYTES = 8192
"""Most bytes of one click's headers that its answer carries: an answer must fit into its topic."""


@dataclass
class MicroBatch:
    """Clicks that are answered together.

    Attributes:
        epoch: the pipeline's epoch when the batch was taken; a batch of an earlier epoch is dropped.
        clicks: the valid clicks, in offset order per partition.
        rejected: partition → copies of the messages that are not valid clicks.
        passed_over: messages that are no clicks by NEXTCLICK_CLICK_WHERE.
        reasons: how many of them there are of each kind, see `worker.rejects.KINDS`.
        first_rejects: the first one of each kind.
        next_offsets: partition → the offset after the last record.
        newest: partition → Kafka timestamp of the last record, ms since 1970 UTC.
        logs: partition → its click log when the records were taken; partitions that are not in it are unknown.
        taken_in: when the broker took in each click, or when it was fetched if only its producer's time is known, ms
            since 1970 UTC.
        headers: partition and offset of a click → the headers that its answer carries, for clicks that have some.
        headers_left_out: clicks whose headers were too large to pass.
        states: (partition, session key) → the state that the session's clicks share; the pipeline fills it in.
        answered: set when the answers are acknowledged or given up.
    """

    epoch: int
    clicks: list[PendingClick] = field(default_factory=list)
    rejected: dict[int, list[OutgoingRecord]] = field(default_factory=lambda: defaultdict(list))
    passed_over: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first_rejects: dict[str, Reject] = field(default_factory=dict)
    next_offsets: dict[int, int] = field(default_factory=dict)
    newest: dict[int, int] = field(default_factory=dict)
    logs: Mapping[int, PartitionLog] = field(default_factory=dict)
    taken_in: list[int] = field(default_factory=list)
    headers: dict[tuple[int, int], Headers] = field(default_factory=dict)
    headers_left_out: int = 0
    states: dict[tuple[int, bytes], SessionState] = field(default_factory=dict)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def without_headers(self, answer: OutgoingRecord) -> OutgoingRecord | None:
        """An answer without the headers of its click, for a topic that it is too large for; None if it has none."""
        key, value, headers = answer
        if not headers:
            return None
        self.headers_left_out += 1
        return key, value, None


def decode(
    taken: Sequence[RecordBatch],
    epoch: int,
    tolerance_ms: int,
    passed_headers: Container[str] = (),
    oldest: int = 0,
    logs: Mapping[int, PartitionLog] | None = None,
    decode_message: DecodeClick = decode_click,
) -> MicroBatch:
    """Make a micro-batch from fetched records. The clicks get an empty state; the pipeline attaches the stored ones.

    Args:
        taken: record batches in offset order per partition.
        epoch: the pipeline's epoch.
        tolerance_ms: clicks stamped further ahead of the time when the broker took them in are rejected. Where only
            their producer's time is known, it is the time of the fetch.
        passed_headers: names of the headers that pass from a click to its answer.
        oldest: clicks with an earlier record time are too old for an answer, ms since 1970 UTC.
        logs: partition → its click log.
        decode_message: decodes a message of the topic.
    """
    batch = MicroBatch(epoch, logs=logs or {})
    nobody = new_session(0)
    for records in taken:
        partition, fetched_at = records.partition, records.fetched_at
        batch.next_offsets[partition] = records.next
        batch.newest[partition] = records.records[-1].timestamp
        log = batch.logs[partition].name if partition in batch.logs else ""
        for record in records.records:
            key = record.key
            try:
                arrived = taken_in(record, fetched_at)
                moment = record.timestamp
                click = decode_message(key, record.value, arrived + tolerance_ms, moment)
            except InvalidClickError as error:
                _reject(batch, records, record, str(error), log)
                continue
            if click is None:
                batch.passed_over += 1
                continue
            if record.headers:
                _pass_headers(batch, partition, record, passed_headers)
            too_old = 0 <= moment < oldest
            batch.clicks.append(
                PendingClick(
                    partition,
                    record.offset,
                    click.session_key,
                    click.session_id,
                    click.item_id,
                    click.timestamp,
                    nobody,
                    too_old,
                    log,
                    key,
                )
            )
            batch.taken_in.append(arrived)
    return batch


def _reject(batch: MicroBatch, records: RecordBatch, record: Any, reason: str, log: str) -> None:
    batch.rejected[records.partition].append(reject_copy(records, record, reason, log))
    kind = kind_of(reason)
    batch.reasons[kind] += 1
    if kind not in batch.first_rejects:
        batch.first_rejects[kind] = Reject(records.partition, record.offset, printable(reason, REASON_CHARACTERS_TOLD))


def _pass_headers(batch: MicroBatch, partition: int, record: Any, names: Container[str]) -> None:
    passed = [header for header in record.headers if header[0] in names]
    if sum(len(name) + len(value or b"") for name, value in passed) > PASSED_BYTES:
        batch.headers_left_out += 1
    elif passed:
        batch.headers[partition, record.offset] = passed


def encode_answers(batch: MicroBatch, outcome: Outcome, replay: str | None = None) -> dict[int, list[OutgoingRecord]]:
    """The messages for the recommendations topic, by partition. An answer goes to the partition of its click.

    Args:
        batch: the clicks.
        outcome: their answers.
        replay: name of the replay that answers again; None for live answers.
    """
    answers: dict[int, list[OutgoingRecord]] = defaultdict(list)
    headers = batch.headers
    for click, answer in zip(batch.clicks, outcome.answers, strict=True):
        if answer is None:
            continue
        value = encode_recommendation(
            EncodedRecommendation(
                f"{click.partition}-{click.offset}",
                click.session_id,
                click.item_id,
                click.timestamp,
                answer.items,
                answer.scores,
                answer.model_version,
                answer.source,
                click.log or None,
                replay,
                answer.neighbours_share,
            )
        )
        answers[click.partition].append(
            (click.received_key, value, headers.get((click.partition, click.offset)) if headers else None)
        )
    return answers
