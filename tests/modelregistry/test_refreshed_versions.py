"""Refreshed versions in the registry: their network is stored once, and everything counts networks, not refreshes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from modelregistry.models_state import REFRESHES_KEPT, ModelsState
from modelregistry.publishing import checked_announcement, promote, publish
from modelregistry.retention import verdicts
from modelregistry.rollback import rollback
from modelregistry.store import BundleStore
from rankers.bundle_files import ABOUT, DIGEST, ITEMS, read_files
from schemas.announcement import ModelAnnouncement
from schemas.errors import BundleError
from schemas.evidence import GROUPS, LiveEvidence
from schemas.settings import Settings
from tests.command_line import CommandLine
from tests.modelregistry.memory_topic import MemoryTopic
from tests.modelregistry.refreshes import NEIGHBOURS, NETWORK, refreshable
from trainer.retraining.shadow_trial import _carry_out, _finish_promotion, _next_step, _UnfinishedPromotion

TOMORROW = datetime.now(UTC) + timedelta(days=2)


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path)
    return f"{place}/models"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, models_uri=str(tmp_path / "models"), models_kept=1)


def files_at(store: BundleStore, version: str) -> set[str]:
    return {name for name in (NETWORK, NEIGHBOURS, ABOUT, DIGEST) if store.get_beside(version, name) is not None}


def put(store: BundleStore, directory: Path, version: str, refresh_of: str | None = None) -> Path:
    made = refreshable(directory / "made" / version, version, refresh_of)
    store.put(made, version)
    return made


def test_a_network_is_stored_once_and_fetched_with_every_refresh(root: str, tmp_path: Path) -> None:
    store = BundleStore(root)
    put(store, tmp_path, "a")
    made = put(store, tmp_path, "a2", "a")
    put(store, tmp_path, "a3", "a")
    assert files_at(store, "a") == {NETWORK, NEIGHBOURS, ABOUT, DIGEST}
    assert files_at(store, "a2") == files_at(store, "a3") == {NEIGHBOURS, ABOUT, DIGEST}
    store.fetch(store.uri_of("a2"), tmp_path / "fetched")
    assert read_files(tmp_path / "fetched") == read_files(made)


def test_a_refresh_is_stored_whole_where_its_network_is_not(root: str, tmp_path: Path) -> None:
    store = BundleStore(root)
    put(store, tmp_path, "a2", "a")  # published to another registry
    put(store, tmp_path, "b")
    refreshable(tmp_path / "other" / "b2", "b2", "b")
    other = refreshable(tmp_path / "other" / "b", "b")
    (other / NETWORK).write_bytes(b"changed")
    put(store, tmp_path, "b2", "a")  # `a` is not there, and a2 has no own network
    assert files_at(store, "a2") == files_at(store, "b2") == {NETWORK, NEIGHBOURS, ABOUT, DIGEST}
    store.fetch(store.uri_of("a2"), tmp_path / "fetched")
    assert read_files(tmp_path / "fetched").about["version"] == "a2"


def test_a_network_that_is_not_whole_is_not_relied_on(root: str, tmp_path: Path) -> None:
    store = BundleStore(root)
    put(store, tmp_path, "a")
    store._filesystem.rm_file(f"{store._place('a')}/{DIGEST}")  # as if it were being deleted
    put(store, tmp_path, "a2", "a")
    assert NETWORK in files_at(store, "a2")


def test_a_network_with_other_files_under_the_same_name_is_not_taken_for_it(root: str, tmp_path: Path) -> None:
    store = BundleStore(root)
    put(store, tmp_path, "a")
    made = refreshable(tmp_path / "elsewhere" / "a2", "a2", "x")  # its network has other bytes
    about = json.loads((made / ABOUT).read_text()) | {"refresh_of": "a"}
    (made / ABOUT).write_text(json.dumps(about))
    store.put(made, "a2")
    assert NETWORK in files_at(store, "a2")


def test_a_version_whose_network_another_one_needs_is_not_deleted(root: str, tmp_path: Path) -> None:
    store = BundleStore(root)
    put(store, tmp_path, "a")
    put(store, tmp_path, "a2", "a")
    with pytest.raises(BundleError, match="a has the network of a2, which would be lost"):
        store.delete("a")
    store.fetch(store.uri_of("a2"), tmp_path / "fetched")
    store.delete("a2")
    store.delete("a")
    assert store.versions() == []


def test_a_damaged_version_does_not_keep_others_from_being_deleted(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "models"))
    put(store, tmp_path, "a")
    put(store, tmp_path, "a2", "a")
    (tmp_path / "models" / "a2" / ABOUT).write_text("{")
    store.delete("a")
    assert store.versions() == ["a2"]


def test_a_damaged_network_is_not_deleted_while_another_version_needs_it(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "models"))
    put(store, tmp_path, "a")
    put(store, tmp_path, "a2", "a")
    (tmp_path / "models" / "a" / ABOUT).write_text("{")
    with pytest.raises(BundleError, match="a has the network of a2"):
        store.delete("a")
    assert NETWORK in files_at(store, "a")


@pytest.mark.parametrize("unreadable", ["cat_file", "info", "ls"])
def test_nothing_is_deleted_while_the_store_cannot_be_read(
    unreadable: str, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BundleStore(root)
    put(store, tmp_path, "a")
    put(store, tmp_path, "a2", "a")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Access Denied")

    with monkeypatch.context() as context:
        context.setattr(store._filesystem, unreadable, refused)
        with pytest.raises(BundleError, match=r"cannot read .*models.* \(NEXTCLICK_MODELS_URI\): .*Access Denied"):
            store.delete("a")
    assert files_at(store, "a") == {NETWORK, NEIGHBOURS, ABOUT, DIGEST}


def test_an_interrupted_put_is_no_version(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BundleStore(root)
    put(store, tmp_path, "a")
    made = refreshable(tmp_path / "made" / "a2", "a2", "a")
    filesystem = store._filesystem
    put_file = filesystem.put_file

    def stopped(source: str, target: str) -> None:
        if target.endswith(ABOUT):
            raise OSError("stopped")
        put_file(source, target)

    with monkeypatch.context() as context:
        context.setattr(filesystem, "put_file", stopped)
        with pytest.raises(BundleError, match="cannot put the bundle"):
            store.put(made, "a2")
    assert store.versions() == ["a"]
    store.put(made, "a2")
    store.fetch(store.uri_of("a2"), tmp_path / "fetched")
    assert read_files(tmp_path / "fetched") == read_files(made)


def test_a_network_that_is_in_the_cache_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BundleStore(str(tmp_path / "models"))
    put(store, tmp_path, "a")
    made = put(store, tmp_path, "a2", "a")
    cache = tmp_path / "cache"
    store.fetch(store.uri_of("a"), cache / "a")
    fetched: list[str] = []
    get_file = LocalFileSystem.get_file

    def counted(self: LocalFileSystem, source: str, target: str) -> None:
        fetched.append(source.rsplit("/", 1)[1])
        get_file(self, source, target)

    monkeypatch.setattr(LocalFileSystem, "get_file", counted)
    store.fetch(store.uri_of("a2"), cache / "a2", [cache / "a"])
    assert sorted(fetched) == sorted([ABOUT, DIGEST, ITEMS, NEIGHBOURS])
    assert read_files(cache / "a2") == read_files(made)
    (cache / "a" / NETWORK).unlink()
    (cache / "a" / NETWORK).write_bytes(b"damaged")
    store.fetch(store.uri_of("a2"), cache / "again", [cache / "a"])
    assert read_files(cache / "again") == read_files(made)


def test_a_refreshed_version_is_read_where_it_lies(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "models"))
    put(store, tmp_path, "a")
    made = put(store, tmp_path, "a2", "a")
    assert read_files(tmp_path / "models" / "a2") == read_files(made)
    (tmp_path / "models" / "a" / NETWORK).unlink()
    with pytest.raises(BundleError, match=r"a2 is no whole bundle: cannot read weights.safetensors of its network, a:"):
        read_files(tmp_path / "models" / "a2")
    with pytest.raises(BundleError, match=r"cannot fetch the network of .*a2, .*/models/a/weights.safetensors"):
        store.fetch(store.uri_of("a2"), tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


@pytest.mark.parametrize("refresh_of", ["..", "../a", 7, ""])
def test_a_refresh_of_what_is_no_version_is_refused(refresh_of: object, tmp_path: Path) -> None:
    made = refreshable(tmp_path / "a2", "a2", "a")
    about = json.loads((made / ABOUT).read_text()) | {"refresh_of": refresh_of}
    (made / ABOUT).write_text(json.dumps(about))
    with pytest.raises(BundleError, match=f"refresh_of is {refresh_of!r}, which is no version"):
        read_files(made)


async def announce_all(topic: MemoryTopic, settings: Settings, directory: Path, *versions: str) -> None:
    """Publish versions; the first letter of a version is its network version: the network was trained as it."""
    for version in versions:
        refresh_of = version[0] if len(version) > 1 else None
        await publish(refreshable(directory / "made" / version, version, refresh_of), topic, settings)


async def test_a_rollback_goes_to_the_newest_refresh_of_the_network_before(settings: Settings, tmp_path: Path) -> None:
    topic = MemoryTopic(settings)
    await announce_all(topic, settings, tmp_path, "a", "a1", "a2", "b", "b1", "b2")
    topic.compact()
    assert (await rollback(topic, settings)).version == "a2"
    assert (await topic.read()).withdrawn >= {"b1", "b2"}
    with pytest.raises(BundleError, match="b1, b2 served before a2 and was rolled back from; name a version"):
        await rollback(topic, settings)
    assert (await rollback(topic, settings, "a1")).version == "a1"  # the last refresh was bad
    assert (await topic.read()).withdrawn >= {"a2", "b1", "b2"}


async def test_a_network_alone_can_be_left_for_an_earlier_refresh_only(settings: Settings, tmp_path: Path) -> None:
    topic = MemoryTopic(settings)
    await announce_all(topic, settings, tmp_path, "a", "a1")
    with pytest.raises(BundleError, match="a is the network of all versions announced so far; name one by --to"):
        await rollback(topic, settings)
    assert (await rollback(topic, settings, "a")).version == "a"


async def test_gc_counts_networks_and_keeps_what_others_need(settings: Settings, tmp_path: Path) -> None:
    topic, store = MemoryTopic(settings), BundleStore(settings.models_uri)
    await announce_all(topic, settings, tmp_path, "a", "a1", "b", "b1", "b2", "c", "c1", "c2", "c3")
    topic.compact()

    async def judged(now: datetime) -> dict[str, str | None]:
        return {found.version: found.kept for found in verdicts(await topic.read(), store, settings.models_kept, now)}

    needed = {
        "a": "holds the network of a1", "b": "holds the network of b2", "c": "holds the network of c3",
        "b2": "to roll back to", "c2": "to go back to from the last refresh", "c3": "serves",
    }  # fmt: skip
    assert await judged(TOMORROW) == {**needed, "a1": None, "b1": None, "c1": None}
    assert await judged(datetime.now(UTC)) == {**needed, "a1": "younger than a day", "b1": None, "c1": None}
    for _ in range(2):  # a version with a network that nobody needs any more goes at the next time
        for version, kept in (await judged(TOMORROW)).items():
            if kept is None:
                store.delete(version)
    assert store.versions() == ["b", "b2", "c", "c2", "c3"]
    for version in store.versions():
        store.fetch(store.uri_of(version), tmp_path / "fetched" / version)
        read_files(tmp_path / "fetched" / version)


async def test_gc_keeps_the_network_that_serves_whatever_the_store_says(settings: Settings, tmp_path: Path) -> None:
    topic, store = MemoryTopic(settings), BundleStore(settings.models_uri)
    await announce_all(topic, settings, tmp_path, "a", "a1", "a2")
    for version in ("a1", "a2"):
        (tmp_path / "models" / version / ABOUT).write_text("{")
    found = {one.version: one.kept for one in verdicts(await topic.read(), store, settings.models_kept, TOMORROW)}
    assert found == {
        "a": "holds the network of a2", "a1": "to go back to from the last refresh", "a2": "serves"
    }  # fmt: skip


async def test_gc_deletes_refreshes_that_the_topic_has_forgotten(settings: Settings, tmp_path: Path) -> None:
    topic, store = MemoryTopic(settings), BundleStore(settings.models_uri)
    await announce_all(topic, settings, tmp_path, "a", "a1", "a2", "a3", "a4", "b")
    state = await topic.read()
    assert "a2" not in state.versions_of("a")
    store.put(refreshable(tmp_path / "made" / "b1", "b1", "b"), "b1")  # it is about to be announced
    found = {one.version: one.kept for one in verdicts(state, store, settings.models_kept)}
    assert found == {
        "a": "holds the network of a4", "a1": None, "a2": None, "a3": None, "a4": "to roll back to",
        "b": "serves", "b1": "younger than a day",
    }  # fmt: skip


async def test_live_evidence_goes_on_when_the_serving_model_is_refreshed(settings: Settings, tmp_path: Path) -> None:
    topic = MemoryTopic(settings)
    await announce_all(topic, settings, tmp_path, "b", "a", "a1")
    await publish(refreshable(tmp_path / "made" / "s", "s"), topic, settings, shadow=True)
    began = datetime.now(UTC)

    def counted(worker: str, champion: str, at: datetime) -> None:
        evidence = LiveEvidence(
            name=settings.model_name, worker=worker, champion=champion, shadow="s", counted_at=at,
            events=[1] * GROUPS, champion_hits=[0] * GROUPS, shadow_hits=[1] * GROUPS,
            champion_reciprocal_ranks=0, shadow_reciprocal_ranks=1,
        )  # fmt: skip
        topic.log.append((evidence.key, evidence.model_dump_json().encode()))

    counted("gone", "a", began)  # by a worker that ended before the refresh
    await announce_all(topic, settings, tmp_path, "a2")
    counted("w", "a", datetime.now(UTC))
    counted("old", "a2", datetime.now(UTC))  # by a worker of 0.2
    state = await topic.read()
    assert state.serving is not None
    assert state.shadow is not None
    assert {one.worker for one in state.evidence(state.serving, state.shadow)} == {"gone", "w", "old"}
    await announce_all(topic, settings, tmp_path, "c")
    await rollback(topic, settings, "a2")
    state = await topic.read()
    assert state.serving is not None
    assert state.evidence(state.serving, state.shadow) == [], "the network began to serve anew"  # type: ignore[arg-type]


async def refresh_often(topic: MemoryTopic, times: int) -> None:
    """Announce refreshes of the serving version: r0, r1, …"""
    serving = (await topic.read()).serving
    assert serving is not None
    for number in range(times):
        changes = {"version": f"r{number}", "refresh_of": serving.network_version, "announced_at": datetime.now(UTC)}
        await topic.announce(serving.model_copy(update=changes))
    topic.compact()


async def test_frequent_refreshes_do_not_let_the_topic_grow(settings: Settings, tmp_path: Path) -> None:
    topic = MemoryTopic(settings)
    await announce_all(topic, settings, tmp_path, "a", "a1", "a2", "a3", "b")
    assert (await topic.read()).versions_of("a") == ["a3", "a2", "a"]
    await refresh_often(topic, REFRESHES_KEPT + 5)
    state = await topic.read()
    assert len(state.versions_of("b")) == REFRESHES_KEPT + 2, "b, and the newest when the last one was announced"
    assert (state.serving and state.serving.version) == f"r{REFRESHES_KEPT + 4}"
    assert (await rollback(topic, settings)).version == "a3"


async def test_live_evidence_stays_over_any_number_of_refreshes(settings: Settings, tmp_path: Path) -> None:
    topic = MemoryTopic(settings)
    await announce_all(topic, settings, tmp_path, "a", "a1", "b")
    await rollback(topic, settings)  # the network of a serves anew, since now
    await publish(refreshable(tmp_path / "made" / "s", "s"), topic, settings, shadow=True)
    contest(topic, settings, "a", "s", shadow_hits=9)  # of a worker that ends then
    await refresh_often(topic, REFRESHES_KEPT + 5)
    state = await topic.read()
    assert state.serving is not None
    assert state.shadow is not None
    assert len(state.evidence(state.serving, state.shadow)) == 1


async def test_announcements_of_plain_models_are_as_before(settings: Settings, tmp_path: Path) -> None:
    topic = MemoryTopic(settings)
    await announce_all(topic, settings, tmp_path, "a", "a1")
    first, second = (json.loads(value or b"") for key, value in topic.log if b"/announced/" in key)
    assert "refresh_of" not in first
    assert second["refresh_of"] == "a"
    assert ModelsState.of("n", []).serving is None


def test_the_list_shows_networks_and_json_all_versions(
    kafka_settings: Settings, command_line: CommandLine, tmp_path: Path
) -> None:
    def run(*arguments: str) -> str:
        code, output, errors = command_line.run("models", *arguments, settings=kafka_settings)
        assert code == 0, errors
        return output

    for version in ("a", "a1", "a2", "a3", "b", "b1", "b2"):
        run("publish", str(refreshable(tmp_path / version, version, version[0] if version[1:] else None)))
    shown = [line.split("│")[1:3] for line in run().splitlines() if "│" in line]
    assert [[cell.strip() for cell in cells] for cells in shown] == [["", "a3"], ["serves", "b2"]]
    assert run().splitlines()[-1] == "and 5 versions with the same networks before a refresh (--json)"
    listed = [json.loads(line) for line in run("--json").splitlines()]
    assert [(one["version"], one.get("refresh_of")) for one in listed] == [
        ("a", None), ("a1", None), ("a2", "a"), ("a3", "a"), ("b", None), ("b1", "b"), ("b2", "b")
    ]  # fmt: skip
    assert [one["version"] for one in listed if "announced_at" not in one] == ["a1"], "the topic has forgotten it"
    told, announced = run("rollback").splitlines()
    assert told == (
        "all versions with the network of b2 were left; to go back from the last refresh only: "
        "`nextclick models rollback --to b1`"
    )
    assert announced.startswith("announced a3 at")
    assert run("rollback", "--to", "b1").startswith("announced b1 at")


def contest(topic: MemoryTopic, settings: Settings, champion: str, shadow: str, shadow_hits: int) -> None:
    """A worker's counts of a contest, 640 clicks."""
    evidence = LiveEvidence(
        name=settings.model_name, worker="w", champion=champion, shadow=shadow, counted_at=datetime.now(UTC),
        events=[10] * GROUPS, champion_hits=[5] * GROUPS, shadow_hits=[shadow_hits] * GROUPS,
        champion_reciprocal_ranks=1, shadow_reciprocal_ranks=1,
    )  # fmt: skip
    topic.log.append((evidence.key, evidence.model_dump_json().encode()))


async def look(topic: MemoryTopic, settings: Settings) -> str | None:
    """Decide by live evidence, without the lease."""
    step = _next_step(await topic.read(), settings)
    if isinstance(step, _UnfinishedPromotion):
        await _finish_promotion(step, topic)
        return "finished"
    decision = None if step is None else await _carry_out(step, topic, settings)
    return None if decision is None else decision.outcome


async def test_a_contest_ends_over_refreshes_and_the_newest_refresh_is_the_former_model(
    settings: Settings, tmp_path: Path
) -> None:
    topic, settings = MemoryTopic(settings), settings.model_copy(update={"live_fewest": 500})
    await announce_all(topic, settings, tmp_path, "a", "a1")
    await publish(refreshable(tmp_path / "made" / "s", "s"), topic, settings, shadow=True)
    contest(topic, settings, "a", "s", shadow_hits=9)
    await announce_all(topic, settings, tmp_path, "a2")
    assert await look(topic, settings) == "promoted"
    state = await topic.read()
    assert (state.serving and state.serving.version, state.shadow and state.shadow.version) == ("s", "a2")

    await announce_all(topic, settings, tmp_path, "s1", "s2")  # the promoted model is refreshed, and does worse
    contest(topic, settings, "s", "a", shadow_hits=9)
    assert await look(topic, settings) == "rolled-back"
    state = await topic.read()
    assert (state.serving and state.serving.version, state.shadow) == ("a2", None)
    assert state.withdrawn >= {"s1", "s2"}


async def test_a_promotion_that_was_cut_short_is_finished_after_a_refresh(settings: Settings, tmp_path: Path) -> None:
    topic = MemoryTopic(settings)
    await announce_all(topic, settings, tmp_path, "a", "a1")
    await publish(refreshable(tmp_path / "made" / "s", "s"), topic, settings, shadow=True)
    await promote("s", topic, settings)
    await announce_all(topic, settings, tmp_path, "s1")
    assert await look(topic, settings) == "finished"
    state = await topic.read()
    assert (state.shadow and (state.shadow.version, state.shadow.role)) == ("a1", "former")


async def test_a_refresh_that_ends_during_a_rollback_is_withdrawn_with_its_network(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, settings = MemoryTopic(settings), settings.model_copy(update={"live_fewest": 500})
    await announce_all(topic, settings, tmp_path, "a", "b", "b1")
    former = await checked_announcement("a", settings)
    await topic.score_shadow(former, "former")
    contest(topic, settings, "b", "a", shadow_hits=9)

    async def fetched_slowly(version: str, settings: Settings) -> ModelAnnouncement:
        await announce_all(topic, settings, tmp_path, "b2")
        return await checked_announcement(version, settings)

    monkeypatch.setattr("trainer.retraining.shadow_trial.checked_announcement", fetched_slowly)
    assert await look(topic, settings) == "rolled-back"
    state = await topic.read()
    assert (state.serving and state.serving.version) == "a"
    assert state.withdrawn == {"b", "b1", "b2"}


async def test_a_live_decision_does_not_replace_a_network_that_was_announced_meanwhile(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, settings = MemoryTopic(settings), settings.model_copy(update={"live_fewest": 500})
    await announce_all(topic, settings, tmp_path, "a")
    await publish(refreshable(tmp_path / "made" / "s", "s"), topic, settings, shadow=True)
    contest(topic, settings, "a", "s", shadow_hits=9)

    async def fetched_slowly(version: str, settings: Settings) -> ModelAnnouncement:
        await announce_all(topic, settings, tmp_path, "b")
        return await checked_announcement(version, settings)

    monkeypatch.setattr("trainer.retraining.shadow_trial.checked_announcement", fetched_slowly)
    assert await look(topic, settings) is None
    state = await topic.read()
    assert (state.serving and state.serving.version) == "b"


def test_a_damaged_file_of_a_whole_version_is_seen_though_the_cache_has_it(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "models"))
    for version in ("a", "b"):
        put(store, tmp_path, version)
    store.fetch(store.uri_of("a"), tmp_path / "cache" / "a")
    (tmp_path / "models" / "b" / ITEMS).write_bytes(b"damaged")
    store.fetch(store.uri_of("b"), tmp_path / "cache" / "b", [tmp_path / "cache" / "a"])
    with pytest.raises(BundleError, match=r"is damaged: items\.json"):
        read_files(tmp_path / "cache" / "b")
