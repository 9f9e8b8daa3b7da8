"""Reads the clicks, recommendations and models topics into the scoreboard."""

import msgspec
from aiokafka import TopicPartition

from messaging.clients import connected, new_consumer
from nextclick.demo.scoreboard import Scoreboard
from schemas.announcement import ModelAnnouncement
from schemas.click import MAX_TIMESTAMP
from schemas.click_decoder import click_decoder
from schemas.recommendation import EncodedRecommendation
from schemas.settings import Settings

POLL_MILLISECONDS = 100

_decode_answer = msgspec.json.Decoder(EncodedRecommendation).decode


async def watch(settings: Settings, scoreboard: Scoreboard, announced: list[ModelAnnouncement]) -> None:
    """Follow the three topics from their beginning until cancelled.

    Args:
        settings: broker and topics.
        scoreboard: gets every click and every recommendation.
        announced: every announcement is appended.

    Raises:
        BrokerError: the broker does not answer.
    """
    decode = click_decoder(settings)
    clicks, recommendations = settings.clicks_topic, settings.recommendations_topic
    client = new_consumer(settings, "demo-screen")
    async with connected(client, settings):
        partitions = [
            TopicPartition(topic, number)
            for topic in (clicks, recommendations)
            for number in range(settings.partitions)
        ] + [TopicPartition(settings.models_topic, 0)]
        client.assign(partitions)
        await client.seek_to_beginning(*partitions)
        while True:
            for partition, records in (await client.getmany(timeout_ms=POLL_MILLISECONDS)).items():
                for record in records:
                    if partition.topic == clicks:
                        click = decode(record.key, record.value, MAX_TIMESTAMP, record.timestamp)
                        if click is None:
                            continue
                        place = f"{partition.partition}-{record.offset}"
                        scoreboard.click(place, click.session_id, click.item_id, record.timestamp)
                    elif partition.topic == recommendations:
                        answer = _decode_answer(record.value)
                        scoreboard.answer(
                            answer.id, answer.session_id, answer.items, answer.model_version, record.timestamp
                        )
                    elif record.key == settings.model_name.encode():
                        announced.append(ModelAnnouncement.model_validate_json(record.value))
