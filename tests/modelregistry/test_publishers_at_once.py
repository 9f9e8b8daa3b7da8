"""Several processes that announce at the same moment, and a topic that lost an announcement."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelregistry.change import Author
from modelregistry.models_state import Message, ModelsState, serving_key
from modelregistry.models_topic import BATCH_BYTES, ModelsTopic, models_state
from modelregistry.publishing import promote, publish
from modelregistry.rollback import rollback
from schemas.announcement import ClickSpan, ModelAnnouncement
from schemas.errors import BundleError
from schemas.settings import Settings
from tests.command_line import CommandLine
from tests.modelregistry.memory_topic import MemoryTopic
from tests.worker.deployment import bundle


def announcement(version: str, partitions: int = 0) -> ModelAnnouncement:
    offsets = {number: (10**12, 10**12 + number) for number in range(partitions)}
    span = ClickSpan(clicks=1, sessions=1, offsets=offsets) if partitions else None
    return ModelAnnouncement(
        name="gru4rec", version=version, uri=f"/models/{version}", sha256="0" * 64, trained_on=span,
        announced_at=datetime.now(UTC),
    )  # fmt: skip


def compacted(state: ModelsState) -> ModelsState:
    newest = {key: place for place, (key, _) in enumerate(state.messages)}
    return ModelsState.of(state.name, [state.messages[place] for place in sorted(newest.values())])


def versions(state: ModelsState) -> list[str]:
    return list(dict.fromkeys(one.version for one in state.history))


async def test_publishers_at_once_lose_no_version_and_agree_on_the_last(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    settings = kafka_settings
    names = [f"v{number}" for number in range(6)]
    paths = {name: bundle(tmp_path / "bundles" / name, name) for name in names}

    async def publish_one(name: str) -> None:
        async with ModelsTopic(settings) as topic:
            await publish(paths[name], topic, settings, author=Author(f"{name}@host"))

    await publish_one("v0")
    await asyncio.gather(*map(publish_one, names[1:]))
    state = await models_state(settings)
    announced = [key for key, _ in state.messages if key == serving_key(settings.model_name)]
    assert len(announced) == 6
    for seen in (state, compacted(state)):
        assert seen.serving is not None
        assert seen.serving.model_dump_json(exclude={"role"}).encode() == dict(state.messages)[announced[-1]]
        assert sorted(versions(seen)) == names
        assert sorted((d.candidate, d.by) for d in seen.decisions()) == [(name, f"{name}@host") for name in names]
    assert state.serving is not None
    async with ModelsTopic(settings) as topic:
        assert (await rollback(topic, settings)).version in set(names) - {state.serving.version}


async def test_a_version_that_served_between_two_reads_of_another_publisher_stays_in_the_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(_env_file=None)
    log: list[Message] = []
    one, other = MemoryTopic(settings, log), MemoryTopic(settings, log)
    await one.announce(announcement("a"))
    stale = await other.read()

    async def as_it_was() -> ModelsState:
        return stale

    monkeypatch.setattr(other, "read", as_it_was)
    await one.announce(announcement("b"))
    await other.announce(announcement("c"))
    one.compact()
    state = await one.read()
    assert (versions(state), state.serving and state.serving.version) == (["a", "b", "c"], "c")


async def test_announcements_that_do_not_fit_into_one_batch_are_sent_one_by_one(kafka_settings: Settings) -> None:
    large = announcement("v1", partitions=14_000)
    assert BATCH_BYTES / 2 < len(large.model_dump_json()) < BATCH_BYTES
    async with ModelsTopic(kafka_settings) as topic:
        await topic.announce(large)
        await topic.announce(announcement("v2", partitions=14_000))
        state = await topic.read()
    assert (versions(state), state.serving and state.serving.version) == (["v1", "v2"], "v2")


async def test_a_topic_that_lost_the_announcement_of_the_serving_version(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, models_uri=str(tmp_path / "models"))
    topic, name = MemoryTopic(settings), settings.model_name
    for version in ("a", "b"):
        await publish(bundle(tmp_path / version, version), topic, settings)
    for lost in ([*topic.log, (serving_key(name), None)], [one for one in topic.log if one[0] != serving_key(name)]):
        broken = MemoryTopic(settings, lost)
        state = await broken.read()
        assert (state.serving, versions(state)) == (None, ["a", "b"])
        with pytest.raises(BundleError, match=r"was deleted from the models topic: .*promote`.* known there is b$"):
            await rollback(broken, settings)
        await promote("b", broken, settings)
        assert (await rollback(broken, settings)).version == "a"


def test_the_list_of_models_says_that_an_announcement_is_lost(
    kafka_settings: Settings, command_line: CommandLine
) -> None:
    async def lose() -> None:
        async with ModelsTopic(kafka_settings) as topic:
            await topic.announce(announcement("v1"))
            await topic._send((serving_key("gru4rec"), None))

    asyncio.run(lose())
    code, output, errors = command_line.run("models", settings=kafka_settings)
    assert code == 0
    assert "the announcement of the serving version of model 'gru4rec' was deleted" in errors
    assert "v1" in output
    assert "serves" not in output
