"""Micro-batches: decoding fetched records into clicks, and encoding answers."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.click import InvalidClickError, decode_click
from schemas.recommendation import EncodedRecommendation, encode_recommendation
from worker.delivery.publisher import OutgoingRecord
from worker.delivery.records import RecordBatch
from worker.recommender import Outcome, PendingClick
from worker.session_state import SessionState, new_session


@dataclass
class MicroBatch:
    """Clicks that are answered together.

    Attributes:
        epoch: the pipeline's epoch when the batch was taken; a batch of an earlier epoch is dropped.
        clicks: the valid clicks, in offset order per partition.
        rejected: partition → copies of the messages that are not valid clicks.
        next_offsets: partition → the offset after the last record.
        oldest: time of the first record of each fetch, ms since 1970 UTC.
        states: (partition, session key) → the state that the session's clicks share; the pipeline fills it in.
        answered: set when the answers are acknowledged or given up.
    """

    epoch: int
    clicks: list[PendingClick] = field(default_factory=list)
    rejected: dict[int, list[OutgoingRecord]] = field(default_factory=lambda: defaultdict(list))
    next_offsets: dict[int, int] = field(default_factory=dict)
    oldest: list[int] = field(default_factory=list)
    states: dict[tuple[int, bytes], SessionState] = field(default_factory=dict)
    answered: asyncio.Event = field(default_factory=asyncio.Event)


def decode(taken: Sequence[RecordBatch], epoch: int, latest: int) -> MicroBatch:
    """Make a micro-batch from fetched records. The clicks get an empty state; the pipeline attaches the stored ones.

    Args:
        taken: record batches in offset order per partition.
        epoch: the pipeline's epoch.
        latest: clicks with a later timestamp are rejected, ms since 1970 UTC.
    """
    batch = MicroBatch(epoch)
    nobody = new_session(0)
    for records in taken:
        partition = records.partition
        batch.next_offsets[partition] = records.next
        batch.oldest.append(records.records[0].timestamp)
        for record in records.records:
            key = record.key
            try:
                click = decode_click(key, record.value, latest)
            except InvalidClickError as error:
                batch.rejected[partition].append(_rejected(records, record, str(error)))
                continue
            batch.clicks.append(
                PendingClick(partition, record.offset, key, click.session_id, click.item_id, click.timestamp, nobody)
            )
    return batch


def encode_answers(batch: MicroBatch, outcome: Outcome) -> dict[int, list[OutgoingRecord]]:
    """The messages for the recommendations topic, by partition. An answer goes to the partition of its click."""
    answers: dict[int, list[OutgoingRecord]] = defaultdict(list)
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
            )
        )
        answers[click.partition].append((click.key, value, None))
    return answers


def _rejected(batch: RecordBatch, record: Any, reason: str) -> OutgoingRecord:
    headers = [
        ("reason", reason.encode(errors="replace")),
        ("topic", batch.topic.encode()),
        ("partition", str(batch.partition).encode()),
        ("offset", str(record.offset).encode()),
    ]
    return (record.key, record.value, headers)
