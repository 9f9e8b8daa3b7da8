"""Reads the clicks, recommendations and models topics into the scoreboard."""

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from messaging.clients import connected
from nextclick.demo.scoreboard import Scoreboard
from schemas.announcement import ModelAnnouncement
from schemas.click import decode_click
from schemas.recommendation import EncodedRecommendation
from schemas.settings import Settings

POLL_MILLISECONDS = 100

_decode = msgspec.json.Decoder(EncodedRecommendation).decode


async def watch(settings: Settings, scoreboard: Scoreboard, announced: list[ModelAnnouncement]) -> None:
    """Follow the three topics from their beginning until cancelled.

    Args:
        settings: broker and topics.
        scoreboard: gets every click and every recommendation.
        announced: every announcement is appended.

    Raises:
        BrokerError: the broker does not answer.
    """
    clicks, recommendations = settings.clicks_topic, settings.recommendations_topic
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.brokers, client_id="demo-screen", enable_auto_commit=False)
    async with connected(consumer, settings):
        partitions = [
            TopicPartition(topic, number)
            for topic in (clicks, recommendations)
            for number in range(settings.partitions)
        ] + [TopicPartition(settings.models_topic, 0)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        while True:
            for partition, records in (await consumer.getmany(timeout_ms=POLL_MILLISECONDS)).items():
                for record in records:
                    if partition.topic == clicks:
                        click = decode_click(record.key, record.value)
                        place = f"{partition.partition}-{record.offset}"
                        scoreboard.click(place, click.session_id, click.item_id, record.timestamp)
                    elif partition.topic == recommendations:
                        answer = _decode(record.value)
                        scoreboard.answer(
                            answer.id, answer.session_id, answer.items, answer.model_version, record.timestamp
                        )
                    elif record.key == settings.model_name.encode():
                        announced.append(ModelAnnouncement.model_validate_json(record.value))
