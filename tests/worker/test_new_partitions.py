"""Partitions are added to the clicks topic while a worker runs, on a real Kafka."""

import asyncio
import json
import urllib.error
import urllib.request

import pytest
from aiokafka.admin import NewPartitions
from aiokafka.partitioner import DefaultPartitioner

from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import add_partitions
from tests.worker.deployment import Deployment, clicks_of

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.xdist_group("incidents"),
    pytest.mark.usefixtures("compiled_scorer"),
]


def health(port: int) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as page:
            return page.status, json.load(page)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except urllib.error.URLError:  # not started yet
        return 0, {}


def test_known_partitions_go_on_and_the_others_are_told_until_all_topics_have_them(
    deployment: Deployment, free_port: int
) -> None:
    old, settings = deployment.settings, deployment.settings.model_copy(update={"partitions": 6})
    deployment.publish()
    options = {"web": True, "NEXTCLICK_WEB_PORT": str(free_port), "NEXTCLICK_GROUP_TIMEOUT": "6s"}
    worker = deployment.start("w1", **options)  # type: ignore[arg-type]
    deployment.send(clicks_of(40, 2))
    deployment.wait_until_all_answered()
    assert health(free_port)[0] == 200

    async def add_to_clicks() -> None:
        async with admin(old) as client:
            await client.create_partitions({old.clicks_topic: NewPartitions(6)})

    asyncio.run(add_to_clicks())
    deployment.wait_until(lambda: health(free_port)[0] == 503, "ill health")
    reason = str(health(free_port)[1]["reason"])
    assert "clicks on partitions 4 to 5 are not answered; set NEXTCLICK_PARTITIONS=6, run `nextclick topics`" in reason
    assert reason in worker.said
    later = clicks_of(60, 2, seed=1)
    deployment.send(later)
    known = [click for click in later if partition_of(click[0], 6) < 4]
    assert 0 < len(known) < len(later)
    deployment.wait_for_answers(80 + len(known))
    assert worker.alive
    assert worker.stop() == 0
    worker = deployment.start("w1", **options)  # type: ignore[arg-type]  # a restart before the topics are grown
    deployment.wait_until(lambda: worker.said.count(reason) == 2, "the line again")  # it is the same file
    assert health(free_port)[0] == 503
    assert worker.stop() == 0

    async def grow() -> None:
        async with admin(settings) as client:
            names = [c.name for c in topic_contracts(settings) if c.partitions == 6 and c.name != settings.clicks_topic]
            await add_partitions(client, dict.fromkeys(names, 6))

    asyncio.run(grow())
    deployment.settings = settings
    deployment.start("w1", **options)  # type: ignore[arg-type]
    deployment.wait_until_all_answered()
    deployment.wait_until(lambda: health(free_port)[0] == 200, "health")
    assert deployment.outcome().duplicates == 0


def partition_of(session: str, count: int) -> int:
    return DefaultPartitioner()(session.encode(), list(range(count)), list(range(count)))
