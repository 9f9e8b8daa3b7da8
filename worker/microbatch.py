"""Clicks that are answered together: from the bytes of a fetch, and to the bytes of the answers."""

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
        epoch: the pipeline's when the batch was taken; a batch of an earlier one is dropped.
        clicks: the valid ones, in offset order per partition.
        rejected: partition → what was no click.
        next_offsets: partition → the offset after the last record.
        oldest: record time of the first click of each fetch, ms since 1970 UTC.
        states: (partition, session key) → the state that its clicks share; filled in when they are attached.
        answered: set once its answers are acknowledged, or given up.
    """

    epoch: int
    clicks: list[PendingClick] = field(default_factory=list)
    rejected: dict[int, list[OutgoingRecord]] = field(default_factory=lambda: defaultdict(list))
    next_offsets: dict[int, int] = field(default_factory=dict)
    oldest: list[int] = field(default_factory=list)
    states: dict[tuple[int, bytes], SessionState] = field(default_factory=dict)
    answered: asyncio.Event = field(default_factory=asyncio.Event)


def decode(taken: Sequence[RecordBatch], epoch: int, latest: int) -> MicroBatch:
    """Make a micro-batch of fetched records: valid clicks, whose states are still to be attached, and what is none.

    Args:
        taken: record batches in offset order per partition.
        epoch: of the pipeline.
        latest: a click stamped later is rejected; ms since 1970 UTC.
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
    """The messages for the recommendations topic, by partition: that of the click."""
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
