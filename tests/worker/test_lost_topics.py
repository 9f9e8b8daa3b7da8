"""Topics that are deleted and created again while a worker runs: answers, rejects, models, on a real Kafka."""

import asyncio
import time

import pytest

from tests.topics import create_again, create_with_brokers_times, delete_topic
from tests.worker.deployment import Deployment, clicks_of
from tests.worker.test_delivery import assert_undisturbed

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.xdist_group("incidents"),
    pytest.mark.usefixtures("compiled_scorer"),
]


def test_clicks_of_a_time_without_topics_for_answers_and_rejects_are_answered_when_they_are_back(
    deployment: Deployment,
) -> None:
    settings = deployment.settings
    deployment.publish()
    worker = deployment.start()
    deployment.send(clicks_of(40, 4))
    deployment.wait_until_all_answered()
    first = round(time.time() * 1000)
    asyncio.run(delete_topic(settings, settings.recommendations_topic))
    asyncio.run(delete_topic(settings, settings.rejected_topic))
    deployment.send([(session, item, moment + 60_000) for session, item, moment in clicks_of(40, 3)])
    deployment.send_raw([(b"s", b"no click")] * 5)
    time.sleep(3)
    asyncio.run(create_with_brokers_times(settings))
    clicks = deployment.outcome().clicks
    expected = {name: items for name, items in deployment.undisturbed()[0].items() if clicks[name].timestamp >= first}
    assert len(expected) == 120
    deployment.wait_until(lambda: deployment.outcome().answers.keys() >= expected.keys(), "the answers")
    deployment.wait_until(lambda: sum(deployment.outcome().rejected.values()) >= 5, "the rejects")
    outcome = deployment.outcome()
    assert not outcome.unequal(expected)
    assert len(outcome.rejected) == 5
    assert worker.alive


def test_a_models_topic_that_was_created_again_is_read_from_its_beginning(deployment: Deployment) -> None:
    settings = deployment.settings
    deployment.publish("v1", seed=1)
    worker = deployment.start()
    deployment.wait_until(lambda: "model v1 is ready" in worker.said, "the first model")
    del deployment.bundles["v1"]
    asyncio.run(create_again(settings, settings.models_topic))
    deployment.publish("v2", seed=2)  # as many messages as the worker has read of the topic before it
    deployment.wait_until(lambda: "model v2 is ready" in worker.said, "the second model")
    assert worker.said.count(f"topic '{settings.models_topic}' was created again") == 1
    deployment.send(clicks_of(20, 4))
    assert_undisturbed(deployment, duplicates_allowed=False)
