"""The models topic: one connection reads what another wrote, and a topic with wrong properties is refused."""

from datetime import UTC, datetime

import pytest

from messaging.clients import admin
from messaging.topics import existing_topics
from modelregistry.models_state import ModelsState, serving_key, shadow_key, version_key
from modelregistry.models_topic import ModelsTopic
from schemas.announcement import ModelAnnouncement
from schemas.decision import Decision
from schemas.errors import BrokerError, TopicError
from schemas.settings import Settings


def announcement(version: str) -> ModelAnnouncement:
    return ModelAnnouncement(
        name="gru4rec", version=version, uri=f"/models/{version}", sha256="0" * 64, announced_at=datetime.now(UTC)
    )


def versions(state: ModelsState) -> list[str]:
    return [one.version for one in state.history]


async def test_a_connection_that_is_kept_open_reads_what_others_wrote_since(kafka_settings: Settings) -> None:
    async with ModelsTopic(kafka_settings) as reader, ModelsTopic(kafka_settings) as writer:
        empty = await reader.read()
        assert (empty.serving, empty.shadow, empty.decisions()) == (None, None, [])
        await writer.announce(announcement("v1"))
        assert versions(await reader.read()) == ["v1"]
        await writer.announce(announcement("v2"))
        await writer.score_shadow(announcement("v1"), "former")
        state = await reader.read()
        assert versions(state) == ["v1", "v2"]
        assert state.shadow is not None
        assert (state.shadow.version, state.shadow.role) == ("v1", "former")
        await writer.end_shadow()
        assert (await reader.read()).shadow is None
        now = datetime.now(UTC)
        decision = Decision(name="gru4rec", id="d", outcome="kept", reason="no", began_at=now, decided_at=now)
        await reader.record(decision)
        assert (await writer.read()).decisions() == [decision]


async def test_a_missing_topic_is_refused_and_not_created(bare_settings: Settings) -> None:
    with pytest.raises(TopicError, match=f"no topic '{bare_settings.models_topic}'"):
        async with ModelsTopic(bare_settings):
            pass
    async with admin(bare_settings) as client:
        assert await existing_topics(client, [bare_settings.models_topic]) == {}


async def test_another_partition_count_is_refused(kafka_settings: Settings) -> None:
    other = kafka_settings.model_copy(update={"partitions": 9})
    async with ModelsTopic(other):
        pass  # the models topic always has one partition
    with pytest.raises(TopicError, match=r"it has 4 partitions, the settings say 9"):
        async with ModelsTopic(other, other.clicks_topic):
            pass


async def test_no_broker(free_port: int) -> None:
    with pytest.raises(BrokerError, match="no Kafka broker answers"):
        async with ModelsTopic(Settings(_env_file=None, broker=f"127.0.0.1:{free_port}")):
            pass


def test_history_is_the_same_after_compaction() -> None:
    first, second = announcement("v1"), announcement("v2")

    def message(key: bytes, value: ModelAnnouncement) -> tuple[bytes, bytes]:
        return key, value.model_dump_json().encode()

    kept = [message(version_key("gru4rec", "v1"), first), message(serving_key("gru4rec"), second)]
    whole = [message(serving_key("gru4rec"), first), *kept]
    noise = [(shadow_key("gru4rec"), b"no announcement"), (b"another", first.model_dump_json().encode())]
    for messages in (whole, kept, [*noise, *whole]):
        state = ModelsState.of("gru4rec", messages)
        assert (versions(state), state.shadow) == (["v1", "v2"], None)
