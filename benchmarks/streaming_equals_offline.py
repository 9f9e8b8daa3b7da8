"""Recall@20 and MRR@20 computed from the topics alone, compared with `nextclick evaluate` on the same clicks.

    uv run python -m benchmarks.streaming_equals_offline --clicks FILE --train train,valid --test test

Trains a bundle (or takes --model), lets a worker answer the test clicks on a real Kafka, and computes both metrics from
the topics `clicks` and `recommendations`. With --session-gap the worker starts a new session after a silence, while
the file's sessions go on: clicks that come after such a silence are counted.
"""

import asyncio
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import torch
from aiokafka import AIOKafkaConsumer

from benchmarks.answers import partitions_of
from benchmarks.arguments import parser_for
from benchmarks.contestants import machine
from benchmarks.stage import Stage
from clicklog.click_files import read_click_file
from clicklog.topic_writer import send_clicks
from rankers.bundle import Bundle, read_bundle
from schemas.durations import milliseconds, parse_duration
from schemas.settings import Settings
from trainer.config import FitConfig, TrainConfig
from trainer.train import evaluate_bundle, train

PLAIN = FitConfig(
    batch_size=32, samples=512, learning_rate=0.1, momentum=0.0, dropout_hidden=0.0, sample_alpha=0.75, epochs=5
)


async def read(settings: Settings, topic: str, wanted: int, seconds: float) -> list[tuple[int, int, Any]]:
    """(partition, offset, message) of the first `wanted` messages of a topic."""
    found: list[tuple[int, int, Any]] = []
    async with AIOKafkaConsumer(bootstrap_servers=settings.brokers, enable_auto_commit=False) as consumer:
        partitions = partitions_of(topic, settings)
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        deadline = time.monotonic() + seconds
        while len(found) < wanted and time.monotonic() < deadline:
            for partition, records in (await consumer.getmany(timeout_ms=500)).items():
                found += [(partition.partition, r.offset, msgspec.json.decode(r.value)) for r in records]
    return found


def from_topics(clicks: list[Any], answers: list[Any], bundle: Bundle, gap_ms: int) -> tuple[int, float, float, int]:
    """Events, Recall@20, MRR@20, and how many clicks came after a silence of more than the gap."""
    top = {answer["id"]: answer["items"] for _, _, answer in answers}
    sessions = defaultdict(list)
    for partition, offset, click in sorted(clicks, key=lambda entry: entry[:2]):
        sessions[click["session_id"]].append((f"{partition}-{offset}", click))
    events, hits, reciprocal, silences = 0, 0, 0.0, 0
    for entries in sessions.values():
        before = last = None
        for name, click in entries:
            silences += last is not None and click["timestamp"] - last > gap_ms
            last = click["timestamp"]
            if click["item_id"] not in bundle.items.row_of:
                continue  # `evaluate` leaves it out; the worker repeats its previous answer
            if before is not None:
                events += 1
                if click["item_id"] in top[before]:
                    hits += 1
                    reciprocal += 1 / (top[before].index(click["item_id"]) + 1)
            before = name
    return events, hits / events, reciprocal / events, silences


async def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--clicks", type=Path, required=True)
    parser.add_argument("--train", default="train,valid", help="splits to train on")
    parser.add_argument("--test", default="test", help="split to serve")
    parser.add_argument("--model", type=Path, help="bundle to serve with; by default one is trained")
    parser.add_argument("--session-gap", default="36500d")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.model:
        bundle = read_bundle(arguments.model)
    else:
        clicks = read_click_file(arguments.clicks, arguments.train.split(","))
        bundle = train(clicks, TrainConfig(PLAIN, device="cpu")).bundle
    test = read_click_file(arguments.clicks, arguments.test.split(","))
    offline = evaluate_bundle(bundle, test, "cpu")
    with Stage() as stage:
        settings = stage.settings(app_id="equal", session_gap=arguments.session_gap)
        await stage.create_topics(settings)
        await stage.publish(bundle)
        sent = await send_clicks(settings, test.frame)
        with stage.running("worker", app_id="equal", session_gap=arguments.session_gap):
            answers = await read(settings, settings.recommendations_topic, sent, 120)
        produced = await read(settings, settings.clicks_topic, sent, 30)
    gap_ms = milliseconds(parse_duration(arguments.session_gap))
    events, recall, mrr, silences = from_topics(produced, answers, bundle, gap_ms)
    print(
        f"\n{machine()}; {sent:,} clicks, {len({a['id'] for *_, a in answers}):,} answered, gap {arguments.session_gap}"
    )
    print("| | events | Recall@20 | MRR@20 |\n|---|---|---|---|")
    print(f"| nextclick evaluate | {offline.events:,} | {offline.recall[20]:.6f} | {offline.mrr[20]:.6f} |")
    print(f"| from the topics | {events:,} | {recall:.6f} | {mrr:.6f} |")
    print(f"clicks after a silence of more than the gap, where the worker begins anew: {silences}")


if __name__ == "__main__":
    asyncio.run(main())
