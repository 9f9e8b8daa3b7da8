"""Answers clicks of the topic again, to a topic of its own, without a worker.

The sessions begin anew at the first click that is read, and the serving model answers. Live figures, states, offsets
and the archive are not touched. Answers carry the name of the replay.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaConsumer

from clicklog.topic_span import PartitionSpan, click_consumer, click_partitions, open_spans, span_records
from messaging.clients import admin, connected, new_producer
from messaging.contracts import topic_contracts
from messaging.topic_identity import topic_identity
from messaging.topics import create_topics, existing_topics
from modelregistry.models_topic import ModelsTopic
from modelregistry.session_history import check_session_history
from modelregistry.store import BundleStore
from modelregistry.stored_bundle import read_stored_bundle
from rankers.device import choose_device
from schemas.click import DecodeClick
from schemas.click_decoder import click_decoder
from schemas.durations import milliseconds
from schemas.errors import ClicksError, TopicError
from schemas.settings import Settings
from worker.delivery.outage import Outage
from worker.delivery.publisher import Publisher
from worker.delivery.records import RecordBatch
from worker.delivery.resume import PartitionLog
from worker.microbatch import decode, encode_answers
from worker.recommender import Recommender
from worker.serving_model import ServingModel
from worker.session_state import SessionState, new_session


@dataclass
class Replayed:
    """What a replay has done so far.

    Attributes:
        answered: clicks.
        skipped: messages that are no valid click.
        model: version that answered; None if no model serves, so that popular items were answered.
        topic: where the answers are.
    """

    answered: int = 0
    skipped: int = 0
    model: str | None = None
    topic: str = ""


async def replay(
    settings: Settings, name: str, since: int | None, progress: Callable[[Replayed], None] | None = None
) -> Replayed:
    """Answer the clicks of the topic up to its present end.

    Args:
        settings: of the deployment.
        name: of the replay; also the ending of its topic's name.
        since: begin at the first click of this Kafka timestamp or a later one, ms since 1970 UTC; None: at the first.
        progress: called after each batch.

    Raises:
        BrokerError: no broker answers, or it stops sending.
        TopicError: a topic is missing, or the replay's topic cannot be created.
        BundleError: the serving model cannot be fetched, or reads more of a session than is stored.
        ClicksError: the topic has no click since then.
    """
    done = Replayed(topic=f"{settings.recommendations_topic}-{name}")
    recommender = await _recommender(settings)
    done.model = recommender.model.version if recommender.model else None
    answers = new_producer(settings, "replay")
    async with click_consumer(settings, "replay") as consumer, connected(answers, settings):
        partitions = await click_partitions(consumer, settings)
        identity = await topic_identity(consumer, settings.clicks_topic)
        spans = await open_spans(consumer, partitions, since)
        if all(span.first >= span.end for span in spans):
            when = "" if since is None else " of that time: give a longer --since"
            raise ClicksError(f"topic {settings.clicks_topic!r} has no click{when}")
        await _create_topic(settings, done.topic, len(partitions))
        logs = {span.number: PartitionLog(identity.topic_id if identity else "", span.end) for span in spans}
        publisher = Publisher(lambda: answers, settings, Outage())
        run = _Replay(settings, name, done, recommender, logs, publisher, click_decoder(settings))
        await run.read(consumer, spans, progress)
    return done


async def _create_topic(settings: Settings, name: str, partitions: int) -> None:
    """Create the topic of the answers, with a partition for each one of the clicks topic."""
    (contract,) = [each for each in topic_contracts(settings) if each.name == settings.recommendations_topic]
    async with admin(settings) as client:
        await create_topics(client, [replace(contract, name=name, partitions=partitions)])
        existing = (await existing_topics(client, [name])).get(name)
    if existing is not None and existing.partitions < partitions:
        raise TopicError(
            f"topic {name!r} of an earlier replay has {existing.partitions} partitions, and topic "
            f"{settings.clicks_topic!r} has {partitions}: choose another --name, or delete it"
        )


async def _recommender(settings: Settings) -> Recommender:
    """A recommender with the serving model."""
    async with ModelsTopic(settings) as topic:
        serving = (await topic.read()).serving
    model = None
    if serving is not None:
        bundle = read_stored_bundle(BundleStore(settings.models_uri), serving.uri, serving.sha256)
        check_session_history(bundle.needs.history, bundle.version, settings)
        model = ServingModel(bundle, choose_device(settings.device), settings.scoring, details=settings.answer_details)
    return Recommender(
        gap_ms=milliseconds(settings.session_gap),
        history=settings.session_history,
        storage=settings.state_precision,
        model=model,
    )


@dataclass
class _Replay:
    settings: Settings
    name: str
    done: Replayed
    recommender: Recommender
    logs: dict[int, PartitionLog]
    publisher: Publisher
    decode_message: DecodeClick

    async def read(
        self, consumer: AIOKafkaConsumer, spans: list[PartitionSpan], progress: Callable[[Replayed], None] | None
    ) -> None:
        """Answer all clicks of the spans."""
        consumer.assign([span.partition for span in spans])
        states: dict[tuple[int, bytes], SessionState] = {}
        async for records, _ in span_records(consumer, spans, self.settings, self.settings.max_batch):
            topic = self.settings.clicks_topic
            batches = [RecordBatch(topic, number, 0, found) for number, found in records.items() if found]
            await self._answer(batches, states)
            if progress is not None:
                progress(self.done)

    async def _answer(self, batches: list[RecordBatch], states: dict[tuple[int, bytes], SessionState]) -> None:
        now = round(time.time() * 1000)
        tolerance_ms = milliseconds(self.settings.clock_tolerance)
        batch = decode(batches, 0, tolerance_ms, logs=self.logs, decode_message=self.decode_message)
        for click in batch.clicks:
            click.state = states.setdefault((click.partition, click.key), new_session(click.partition))
        outcome = self.recommender.recommend(batch.clicks, now)
        await self.publisher.publish(self.done.topic, encode_answers(batch, outcome, self.name), lambda: True)
        self.done.answered += len(batch.clicks)
        self.done.skipped += sum(map(len, batch.rejected.values()))
