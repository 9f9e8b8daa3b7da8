"""Members of the consumer group that wait, come and go, with real workers on a real Kafka."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import Settings
from tests.topics import create_with_brokers_times
from tests.worker.deployment import Deployment, clicks_of
from tests.worker.test_delivery import RATE, assert_undisturbed

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.xdist_group("incidents"),
    pytest.mark.usefixtures("compiled_scorer"),
]


@pytest.fixture
def one_partition(bare_settings: Settings, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment whose topics have one partition."""
    settings = bare_settings.model_copy(update={"partitions": 1})
    asyncio.run(create_with_brokers_times(settings))
    deployment = Deployment(settings, tmp_path)
    yield deployment
    deployment.close()


def health(port: int) -> tuple[int, dict[str, Any]]:
    """Status and body of the page /health; (0, {}) while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def test_a_worker_without_a_partition_is_healthy_and_takes_over(one_partition: Deployment, free_port: int) -> None:
    deployment = one_partition
    deployment.publish()
    working = deployment.start("w1", NEXTCLICK_GROUP_TIMEOUT="6s")
    deployment.send(clicks_of(50, 2, seed=9))
    deployment.wait_for_answers(100)
    deployment.start("w2", NEXTCLICK_GROUP_TIMEOUT="6s", NEXTCLICK_WEB_PORT=str(free_port), web=True)
    with deployment.flowing(clicks_of(200, 15), RATE):
        deployment.wait_until(lambda: health(free_port)[0] == 200, "a standby that is well", 30)
        assert health(free_port)[1]["partitions"] == []
        working.kill()
        deployment.wait_until(lambda: health(free_port)[1].get("partitions") == [0], "the take-over")
    assert_undisturbed(deployment, duplicates_allowed=True)
    deployment.wait_until(lambda: health(free_port)[0] == 200, "good health")
