"""A refresh is a new version with the network of the one before: open sessions and the live contest go on."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from modelregistry.models_state import serving_key, version_key
from modelregistry.store import BundleStore
from rankers.bundle import Bundle, read_bundle
from schemas.announcement import ModelAnnouncement
from schemas.settings import Settings
from tests.modelregistry.refreshes import NETWORK, refreshable
from tests.worker.deployment import bundle
from tests.worker.test_model_follower import follow, follower_of
from tests.worker.test_pipeline import App, clicks, pipeline_of
from tests.worker.test_recommender import stream
from worker.metrics.models import ModelMetrics
from worker.recommender import Label, PairedLabel, Recommender
from worker.serving_model import ServingModel


@pytest.fixture
def trained(tmp_path: Path) -> Bundle:
    return read_bundle(bundle(tmp_path / "v1", "v1"))


def refreshed(trained: Bundle, version: str, *known: str) -> ServingModel:
    """The same network under another version, in a worker that knows of the `known` versions with it."""
    made = replace(trained, version=version, refresh_of=trained.version)
    return ServingModel(made, torch.device("cpu"), network_versions=dict.fromkeys(known, trained.version))


def serving(trained: Bundle) -> ServingModel:
    return ServingModel(trained, torch.device("cpu"))


@pytest.mark.parametrize("state_format", [2, 3])
def test_open_sessions_go_on_over_refreshes_without_a_replay(
    state_format: int, trained: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = serving(trained)
    feed, straight = (stream(first, history=2, state_format=state_format) for _ in range(2))
    feed.click(("s", 1), ("t", 2), ("s", 3))
    straight.click(("s", 1), ("t", 2), ("s", 3))
    for number, version in enumerate(("v2", "v3")):
        model = feed.recommender.model = refreshed(trained, version, "v2")
        monkeypatch.setattr(model.ranker, "rebuild", lambda _histories: pytest.fail("replayed"))
        found, expected = (one.click(("s", 4 + number), ("t", 5)) for one in (feed, straight))
        for mine, theirs in zip(found, expected, strict=True):
            assert mine is not None
            assert theirs is not None
            assert (mine.items, mine.scores, mine.model_version) == (theirs.items, theirs.scores, version)
        assert feed.state("s").served.version == version


@pytest.mark.parametrize("state_format", [2, 3])
def test_a_session_that_a_newer_refresh_answered_elsewhere_is_not_replayed(
    state_format: int, trained: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = stream(refreshed(trained, "v3"), state_format=state_format)
    feed.click(("s", 1), ("s", 2))
    network_versions: dict[str, str] = {}
    made = replace(trained, version="v2", refresh_of="v1")
    model = feed.recommender.model = ServingModel(made, torch.device("cpu"), network_versions=network_versions)
    if state_format == 2:
        network_versions["v3"] = "v1"  # it is announced after v2 was made ready
    monkeypatch.setattr(model.ranker, "rebuild", lambda _histories: pytest.fail("replayed"))
    assert feed.click(("s", 3)) != [None]
    assert feed.state("s").served.version == "v2"


@pytest.mark.parametrize("state_format", [2, 3])
def test_a_version_of_another_network_is_replayed(state_format: int, trained: Bundle, tmp_path: Path) -> None:
    other = read_bundle(bundle(tmp_path / "w", "w", seed=1))
    feed, straight = stream(serving(trained), state_format=state_format), stream(serving(other))
    feed.click(("s", 1), ("s", 2))
    straight.click(("s", 1), ("s", 2))
    feed.recommender.model = refreshed(other, "w2")
    (mine,), (theirs,) = feed.click(("s", 3)), straight.click(("s", 3))
    assert mine is not None
    assert theirs is not None
    assert mine.items == theirs.items


def test_clicks_on_both_sides_of_a_refresh_count_for_the_same_contest(trained: Bundle, tmp_path: Path) -> None:
    feed = stream(serving(trained))
    feed.recommender.shadow = serving(read_bundle(bundle(tmp_path / "s", "s", seed=1)))
    feed.click(("s", 1))
    feed.recommender.model = refreshed(trained, "v2")
    feed.click(("s", 2))  # its label is of an answer by v1, the next one's of an answer by v2
    (duel,) = feed.outcome.duels
    assert (duel.champion.model_version, duel.shadow.model_version) == ("v1", "s")
    assert [label.model_version for label in feed.outcome.labels] == ["v1", "s"]
    feed.click(("s", 3))
    (duel,) = feed.outcome.duels
    assert (duel.champion.model_version, duel.shadow.model_version) == ("v1", "s")
    assert [label.model_version for label in feed.outcome.labels] == ["v1", "s"]


async def test_the_contest_goes_on_over_a_refresh_and_begins_anew_with_another_network(
    trained: Bundle, tmp_path: Path
) -> None:
    app = App()
    pipeline = pipeline_of(app)

    def counted() -> int:
        evidence = pipeline.comparison.evidence("m")
        return 0 if evidence is None else sum(evidence.events)

    async def exchange(model: ServingModel) -> None:
        pipeline.swap_champion(model)
        app.fetched.append(clicks(0, 1))
        await pipeline.run()

    await exchange(serving(trained))
    pipeline.comparison.add([PairedLabel(b"s", Label("v1", "model", 1), Label("s", "model", 0))])
    for version in ("v2", "v3"):
        await exchange(refreshed(trained, version, "v2", "v3"))
    assert counted() == 1
    await exchange(serving(read_bundle(bundle(tmp_path / "w", "w", seed=1))))
    assert counted() == 0


async def test_a_follower_knows_the_versions_with_a_network_and_fetches_the_network_once(
    trained: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", models_uri=str(tmp_path / "models"))
    store, name = BundleStore(settings.models_uri), settings.model_name
    fetched: list[Path] = []

    def loaded(directory: Path, sha256: str) -> Bundle:  # noqa: ARG001
        fetched.append(directory)
        return replace(trained, version=versions[-1], refresh_of=None if versions[-1] == "v1" else "v1")

    monkeypatch.setattr("worker.model_follower.read_bundle", loaded)
    follower, served = follower_of(settings)
    versions: list[str] = []

    async def announce(version: str, refresh_of: str | None) -> None:
        versions.append(version)
        if version not in store.versions():
            store.put(refreshable(tmp_path / "made" / version, version, refresh_of), version)
        announcement = ModelAnnouncement(
            name=name, version=version, uri=store.uri_of(version), sha256=f"{len(versions)}" * 64,
            announced_at=datetime.now(UTC) - timedelta(days=11 - len(versions)), refresh_of=refresh_of,
        ).model_dump_json().encode()  # fmt: skip
        await follow(follower, [(version_key(name, version), announcement), (serving_key(name), announcement)],
                     monkeypatch)  # fmt: skip

    await announce("v1", None)
    file = (fetched[-1] / NETWORK).stat().st_ino
    for version in ("v2", "v3"):
        await announce(version, "v1")
        assert (fetched[-1] / NETWORK).stat().st_ino == file, "a second name of the same file"
    assert [model.version for model in served] == versions
    assert {model.network_version_of(version) for model in served for version in versions} == {"v1"}, (
        "also of later versions"
    )
    recommender = Recommender(gap_ms=0, history=1, model=served[-1])
    figures = {metric.name: metric.samples for metric in ModelMetrics(recommender, follower).collect()}
    (age,) = figures["nextclick_model_age_seconds"]
    assert age.labels == {"model_version": "v3", "role": "champion"}
    assert round(age.value / 86400) == 10, "the age of the network, for alerts"
    (since,) = figures["nextclick_model_refresh_age_seconds"]
    assert round(since.value / 86400) == 8, "of the last refresh"
    first = Recommender(gap_ms=0, history=1, model=served[0])
    (none,) = [one for one in ModelMetrics(first, follower).collect() if "refresh" in one.name]
    assert none.samples == [], "v1 is no refresh"
    await follow(follower, [(version_key(name, "v2"), None)], monkeypatch)
    assert served[0].network_version_of("v2") == "v2", "the topic has forgotten it"

    (tmp_path / "models" / "v1" / NETWORK).unlink()
    shutil.rmtree(settings.data_dir / "fetched-models")
    settings.data_dir.joinpath("fetched-models").mkdir()
    store.put(whole := refreshable(tmp_path / "made" / "v4", "v4", "v1"), "v4")
    assert (tmp_path / "models" / "v4" / NETWORK).read_bytes() == (whole / NETWORK).read_bytes()
    (tmp_path / "models" / "v4" / NETWORK).unlink()
    await announce("v4", "v1")
    assert (follower.refused, served[-1].version) == (1, "v3")
