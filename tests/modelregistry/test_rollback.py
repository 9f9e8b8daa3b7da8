"""Rolling back again and again, and the records of who changed the serving model and why."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelregistry.change import Author, this_user
from modelregistry.models_state import serving_key, shadow_key, version_key
from modelregistry.publishing import end_shadow, promote, publish
from modelregistry.retention import verdicts
from modelregistry.rollback import rollback
from modelregistry.store import BundleStore
from schemas.announcement import ModelAnnouncement
from schemas.decision import Decision
from schemas.errors import BundleError
from schemas.settings import Settings
from tests.command_line import CommandLine
from tests.modelregistry.memory_topic import MemoryTopic
from tests.worker.deployment import bundle

ANN = Author("ann@laptop", "recall fell")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, models_uri=str(tmp_path / "models"), models_kept=2)


@pytest.fixture(params=["whole", "compacted"])
def topic(request: pytest.FixtureRequest, settings: Settings) -> MemoryTopic:
    """A topic that is compacted before every read, and one that never is."""

    class Compacted(MemoryTopic):
        async def read(self):  # type: ignore[no-untyped-def]
            self.compact()
            return await super().read()

    return (Compacted if request.param == "compacted" else MemoryTopic)(settings)


async def publish_all(topic: MemoryTopic, settings: Settings, directory: Path, *versions: str) -> None:
    for version in versions:
        await publish(bundle(directory / "bundles" / version, version), topic, settings)


async def serving(topic: MemoryTopic) -> str | None:
    now = (await topic.read()).serving
    return now.version if now else None


async def test_rolling_back_goes_on_to_the_version_before(
    topic: MemoryTopic, settings: Settings, tmp_path: Path
) -> None:
    await publish_all(topic, settings, tmp_path, "a", "b", "c")
    assert [(await rollback(topic, settings)).version for _ in range(2)] == ["b", "a"]
    with pytest.raises(BundleError, match=r"b, c|c, b.* rolled back from; name a version by --to"):
        await rollback(topic, settings)
    assert await serving(topic) == "a"
    await publish_all(topic, settings, tmp_path, "d")
    assert (await rollback(topic, settings)).version == "a"


async def test_a_version_that_is_announced_again_can_be_rolled_back_to(
    topic: MemoryTopic, settings: Settings, tmp_path: Path
) -> None:
    await publish_all(topic, settings, tmp_path, "a", "b")
    await rollback(topic, settings)
    await promote("b", topic, settings)
    await publish_all(topic, settings, tmp_path, "c")
    assert (await rollback(topic, settings)).version == "b"


async def test_a_version_can_be_named(topic: MemoryTopic, settings: Settings, tmp_path: Path) -> None:
    await publish_all(topic, settings, tmp_path, "a", "b", "c", "d")
    assert (await rollback(topic, settings, "b")).version == "b"
    assert (await topic.read()).withdrawn == {"c", "d"}
    assert (await rollback(topic, settings)).version == "a"
    assert (await rollback(topic, settings, "d")).version == "d"
    bundle(Path(settings.models_uri) / "never", "never")
    assert (await rollback(topic, settings, "never")).version == "never"
    with pytest.raises(BundleError, match="never is the version that serves"):
        await rollback(topic, settings, "never")
    with pytest.raises(BundleError, match="no version 'x' at NEXTCLICK_MODELS_URI"):
        await rollback(topic, settings, "x")


async def test_a_rollback_by_live_evidence_is_not_undone_either(
    topic: MemoryTopic, settings: Settings, tmp_path: Path
) -> None:
    await publish_all(topic, settings, tmp_path, "a", "b", "c")
    now = datetime.now(UTC)
    older = Decision(  # as 0.2.0 recorded it
        name=settings.model_name, id="x", outcome="rolled-back", reason="worse", began_at=now, decided_at=now,
        candidate="c", serving="b", cpu_seconds=0,
    )  # fmt: skip
    await topic.record(older)
    await promote("b", topic, settings)
    assert (await rollback(topic, settings)).version == "a"


async def test_a_version_that_is_announced_again_after_a_rollback_by_0_2_0_is_usable(
    topic: MemoryTopic, settings: Settings, tmp_path: Path
) -> None:
    await publish_all(topic, settings, tmp_path, "a", "b")
    now = datetime.now(UTC)
    older = Decision(
        name=settings.model_name, id="x", outcome="rolled-back", reason="worse", began_at=now, decided_at=now,
        candidate="b", serving="a", cpu_seconds=0,
    )  # fmt: skip
    await topic.record(older)
    assert (await topic.read()).withdrawn == {"b"}
    await promote("b", topic, settings)
    assert (await topic.read()).withdrawn == set()


async def test_a_record_of_a_version_whose_announcement_is_lost_is_no_trouble(
    settings: Settings, tmp_path: Path
) -> None:
    topic = MemoryTopic(settings)
    await publish_all(topic, settings, tmp_path, "a", "b")
    await rollback(topic, settings)
    topic.log[:] = [message for message in topic.log if message[0] != version_key(settings.model_name, "b")]
    topic.compact()
    assert (await topic.read()).withdrawn == set()


async def test_topics_without_records_can_be_rolled_back(settings: Settings, tmp_path: Path) -> None:
    """As 0.2.0 wrote them: a replaced announcement gets its key when it is replaced."""
    await publish_all(MemoryTopic(settings), settings, tmp_path, "a", "b", "c")
    name, begin = settings.model_name, datetime.now(UTC) - timedelta(days=1)

    def announced(version: str, hours: int) -> bytes:
        return (
            ModelAnnouncement(
                name=name, version=version, uri=str(tmp_path / "models" / version), sha256="0" * 64,
                announced_at=begin + timedelta(hours=hours),
            ).model_dump_json().encode()
        )  # fmt: skip

    log = [
        (version_key(name, "a"), announced("a", 0)),
        (version_key(name, "b"), announced("b", 1)),
        (serving_key(name), announced("c", 2)),
    ]
    topic = MemoryTopic(settings, log)
    assert [(await rollback(topic, settings)).version for _ in range(2)] == ["b", "a"]
    topic.compact()
    state = await topic.read()
    assert (state.serving and state.serving.version, state.withdrawn) == ("a", {"b", "c"})


async def test_a_rollback_that_another_announcement_overtakes_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = MemoryTopic(settings)
    await publish_all(topic, settings, tmp_path, "a", "b")
    monkeypatch.setattr("modelregistry.rollback.checked_announcement", overtaken := _Overtaken(topic, tmp_path))
    with pytest.raises(BundleError, match="c was announced meanwhile in place of b"):
        await rollback(topic, settings)
    assert overtaken.asked == ["a"]
    assert await serving(topic) == "c"


class _Overtaken:
    """Checks a version while another process publishes c."""

    def __init__(self, topic: MemoryTopic, directory: Path) -> None:
        self.asked: list[str] = []
        self._topic, self._directory = topic, directory

    async def __call__(self, version: str, settings: Settings) -> ModelAnnouncement:
        from modelregistry.publishing import checked_announcement

        self.asked.append(version)
        await publish_all(MemoryTopic(settings, self._topic.log), settings, self._directory, "c")
        return await checked_announcement(version, settings)


async def test_every_change_is_recorded_with_who_and_why(settings: Settings, tmp_path: Path) -> None:
    topic = MemoryTopic(settings)
    first = bundle(tmp_path / "a", "a")
    await publish(first, topic, settings)
    await publish(bundle(tmp_path / "b", "b"), topic, settings, author=Author("ann@laptop", "new\n items "))
    await publish(bundle(tmp_path / "s", "s"), topic, settings, shadow=True, author=ANN)
    assert await end_shadow(topic, settings, ANN) == "s"
    assert await end_shadow(topic, settings, ANN) is None
    await rollback(topic, settings, author=ANN)
    await promote("b", topic, settings, Author("bob"))
    topic.compact()
    story = (await topic.read()).decisions()
    assert [(d.outcome, d.candidate, d.serving, d.by, d.reason) for d in story] == [
        ("published", "a", None, this_user(), "published by hand"),
        ("published", "b", "a", "ann@laptop", "published by hand: new items"),
        ("shadowed", "s", "b", "ann@laptop", "shadowed by hand: recall fell"),
        ("dropped", "s", "b", "ann@laptop", "it is no longer scored as a shadow: recall fell"),
        ("rolled-back", "b", "a", "ann@laptop", "a serves again: recall fell"),
        ("promoted", "b", "a", "bob", "promoted by hand"),
    ]
    assert (shadow_key(settings.model_name), None) in topic.log


async def test_versions_that_a_rollback_can_go_to_are_kept_beside_those_that_were_rolled_back_from(
    settings: Settings, tmp_path: Path
) -> None:
    topic = MemoryTopic(settings)
    await publish_all(topic, settings, tmp_path, "a", "b", "c", "d", "e", "f")
    await rollback(topic, settings, "d")
    later = datetime.now(UTC) + timedelta(days=2)
    found = verdicts(await topic.read(), BundleStore(settings.models_uri), settings.models_kept, later)
    assert {verdict.version: verdict.kept for verdict in found} == {
        "a": None,
        "b": "to roll back to",
        "c": "to roll back to",
        "d": "serves",
        "e": "was rolled back from",
        "f": "was rolled back from",
    }


def test_a_user_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert this_user().startswith("uid-")


def test_the_story_shows_who_changed_the_serving_model_and_why(
    kafka_settings: Settings, command_line: CommandLine, tmp_path: Path
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        return command_line.run("models", *arguments, settings=kafka_settings)

    for version in ("v1", "v2"):
        path = bundle(tmp_path / "bundles" / version, version)
        assert run("publish", str(path), "--by", "ann", "--why", "new items")[0] == 0
    code, output, _ = run("rollback", "--why", "recall fell\nby 3 %")
    assert (code, output.startswith("announced v1 at ")) == (0, True)
    code, _, errors = run("rollback")
    assert code == 1
    assert "nothing to roll back to: v2 served before v1 and was rolled back from; name a version by --to" in errors
    assert run("rollback", "--to", "v2", "--by", " ")[0] == 2
    assert run("rollback", "--to", "v2", "--by", "bob")[0] == 0
    lines = [line.split("  ", 1)[1] for line in run("story")[1].splitlines()]
    assert lines == [
        "published    v1  published by hand: new items  by ann",
        "published    v2  published by hand: new items  by ann",
        f"rolled-back  v2  v1 serves again: recall fell by 3 %  by {this_user()}",
        "rolled-back  v1  v2 serves again  by bob",
    ]
    table = run()[1]
    assert [(line.split("│")[1].strip(), line.split("│")[2].strip()) for line in table.splitlines() if "│" in line] == [
        ("rolled back", "v1"),
        ("serves", "v2"),
    ]
