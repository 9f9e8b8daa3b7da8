"""Clicks that the topic has deleted before they were answered: they are counted, and the others answered, on Kafka."""

import asyncio
import re

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from messaging.clients import admin
from tests.worker.deployment import Deployment, clicks_of
from tests.worker.test_new_log import with_times
from tests.worker.test_serving import metrics

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.xdist_group("incidents"),
    pytest.mark.usefixtures("compiled_scorer"),
]


def delete_clicks(deployment: Deployment, before: dict[int, int]) -> None:
    """Delete the clicks below an offset of each partition, as a retention does."""

    async def delete() -> None:
        topic = deployment.settings.clicks_topic
        async with admin(deployment.settings) as client:
            await client.delete_records(
                {TopicPartition(topic, number): RecordsToDelete(offset) for number, offset in before.items()}
            )

    asyncio.run(delete())


def ends(deployment: Deployment) -> dict[int, int]:
    """Partition of the clicks topic → the offset after its last click."""
    return {click.partition: click.offset + 1 for click in deployment.read(deployment.settings.clicks_topic)}


def test_clicks_that_a_retention_deleted_are_counted_and_the_sessions_go_on(
    deployment: Deployment, free_port: int
) -> None:
    deployment.publish()
    worker = deployment.start()
    deployment.send(clicks_of(40, 5))
    deployment.wait_until_all_answered()
    assert worker.stop() == 0
    answered, begin = ends(deployment), deployment.states()
    first_answers = deployment.count(deployment.settings.recommendations_topic)
    deployment.send([(session, item, moment + 60_000) for session, item, moment in clicks_of(40, 8)])
    deleted = {number: (offset + ends(deployment)[number]) // 2 for number, offset in answered.items()}
    delete_clicks(deployment, deleted)
    worker = deployment.start(web=True, NEXTCLICK_WEB_PORT=str(free_port))
    deployment.wait_until_all_answered()
    expected, states = deployment.undisturbed(begin)
    outcome = deployment.outcome()
    assert set(outcome.clicks) == set(expected)
    assert not outcome.unequal(expected)
    assert deployment.count(deployment.settings.recommendations_topic) == first_answers + len(expected)
    deployment.wait_until(lambda: deployment.states() == with_times(states, deployment), "the states")
    lost = {number: deleted[number] - answered[number] for number in deleted}
    lines = re.findall(r"(\d+) has no offsets (\d+) to (\d+): up to (\d+) clicks are lost", worker.said)
    assert sorted(tuple(map(int, line)) for line in lines) == [
        (number, answered[number], deleted[number] - 1, lost[number]) for number in sorted(lost)
    ]
    assert metrics(free_port)["nextclick_lost_offsets_total",] == sum(lost.values())
    assert worker.stop() == 0
    deployment.start()
    deployment.send(clicks_of(5, 1, seed=1))
    deployment.wait_until_all_answered()
    assert worker.said.count("has no offsets") == len(lost)  # of the second start: it is the same file
