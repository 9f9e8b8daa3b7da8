"""The end of a refresh: what it may replace, what is recorded of it, and how a rollback stops refreshes."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelregistry.leased_topic import LeasedTopic
from modelregistry.publishing import promote, publish
from modelregistry.rollback import rollback
from modelregistry.store import BundleStore
from rankers.bundle import Bundle
from schemas.announcement import ClickSpan
from schemas.decision import Decision
from schemas.errors import NextclickError
from schemas.settings import Settings
from tests.modelregistry.memory_topic import MemoryTopic
from tests.modelregistry.refreshes import refreshable
from tests.trainer.retraining.test_release import FakeConnection, FakeLease
from trainer.retraining import refresh as module
from trainer.retraining import refresh_release
from trainer.retraining.refresh import refresh
from trainer.retraining.refresh_decision import RefreshDraft
from trainer.retraining.refresh_release import release_refresh


class Registry:
    """A models topic in memory and a store, with refreshes whose bundles are files only."""

    def __init__(self, directory: Path) -> None:
        self.settings = Settings(_env_file=None, models_uri=str(directory / "models"), model_name="m")
        self.topic, self.lease = MemoryTopic(self.settings), FakeLease()
        self.connection = cast(LeasedTopic, FakeConnection(self.topic, self.lease))
        self._directory = directory

    def publish(self, version: str, network: str | None = None) -> None:
        made = refreshable(self._directory / version, version, network)
        asyncio.run(publish(made, self.other(), self.settings))

    def other(self) -> MemoryTopic:
        """Another process's connection."""
        return MemoryTopic(self.settings, self.topic.log)

    def rollback(self, to: str) -> None:
        asyncio.run(rollback(self.other(), self.settings, to))

    def begin(self) -> RefreshDraft:
        """A refresh of the serving model that is counted."""
        serving = self.state.serving
        assert serving is not None
        draft = RefreshDraft("m", serving)
        span = ClickSpan(clicks=5, sessions=2, first=None, last=None)
        made = SimpleNamespace(version="new", network_version=serving.network_version, trained_on=span, items=range(3))
        draft.refreshed = cast(Bundle, made)
        return draft

    def release(self, version: str, draft: RefreshDraft) -> Decision:
        directory = refreshable(self._directory / version, version, draft.serving.network_version)
        return release_refresh(directory, draft, self.connection, self.settings, print)

    @property
    def state(self) -> Any:
        return asyncio.run(self.topic.read())

    @property
    def serving(self) -> str:
        return str(self.state.serving.version)

    def recorded(self) -> list[str]:
        """Outcomes of the refreshes on the topic."""
        return [one.outcome for one in self.state.decisions() if one.by == "refresh"]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def in_another_process(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)  # has no running event loop
    thread.start()
    thread.join()


def overtake(when: str, work: Callable[[], object], registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another process do this work at a moment of the release."""
    if when == "before the upload":
        work()
    elif when == "during the upload":
        put = refresh_release.stored_announcement

        async def put_slowly(*arguments: Any) -> Any:
            stored = await put(*arguments)
            in_another_process(work)
            return stored

        monkeypatch.setattr(refresh_release, "stored_announcement", put_slowly)
    else:
        send = registry.topic._send

        async def send_late(*messages: Any) -> None:
            monkeypatch.setattr(registry.topic, "_send", send)
            in_another_process(work)
            await send(*messages)

        monkeypatch.setattr(registry.topic, "_send", send_late)


MOMENTS = ["before the upload", "during the upload", "before the announcement"]


@pytest.mark.parametrize("when", MOMENTS)
def test_a_refresh_never_replaces_a_newer_network(
    when: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.publish("a")
    draft = registry.begin()
    overtake(when, lambda: registry.publish("b"), registry, monkeypatch)
    decision = registry.release("a2", draft)
    assert registry.serving == "b"
    assert (decision.outcome, "b was announced meanwhile" in decision.reason) == ("kept", True)
    assert ("a2" in BundleStore(registry.settings.models_uri).versions()) == (when != "before the upload")
    announced = [one.version for one in registry.state.history]
    assert ("a2" in announced) == (when == "before the announcement")


@pytest.mark.parametrize("when", MOMENTS)
def test_a_refresh_never_replaces_the_version_that_was_rolled_back_to_meanwhile(
    when: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.publish("a")
    registry.publish("a1", "a")
    registry.publish("a2", "a")
    draft = registry.begin()
    overtake(when, lambda: registry.rollback("a1"), registry, monkeypatch)
    decision = registry.release("a3", draft)
    assert registry.serving == "a1"
    assert (decision.outcome, "a1 was announced meanwhile" in decision.reason) == ("kept", True)
    assert registry.recorded() == ["kept"]
    announced = [one.version for one in registry.state.history]
    assert ("a3" in announced) == (when == "before the announcement")
    assert refresh_release.withdrawn_refreshes(registry.state) == ["a2"]


def test_what_was_taken_back_is_not_recorded_as_refreshed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.publish("a")
    assert registry.release("a1", registry.begin()).outcome == "refreshed"
    draft = registry.begin()
    overtake("before the announcement", lambda: registry.publish("b"), registry, monkeypatch)
    registry.release("a2", draft)
    records = {one.outcome: one.times for one in registry.state.decisions() if one.by == "refresh"}
    assert records == {"refreshed": 1, "kept": 1}


def test_a_refresh_without_the_lease_publishes_nothing(registry: Registry) -> None:
    registry.publish("a")
    draft = registry.begin()
    registry.lease.lost = True
    with pytest.raises(NextclickError, match="the lease was lost"):
        registry.release("a2", draft)
    assert BundleStore(registry.settings.models_uri).versions() == ["a"]


def test_after_a_rollback_from_a_refresh_none_is_made_until_the_version_is_promoted(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def leased(*_: object) -> Iterator[LeasedTopic]:
        yield registry.connection

    class Fetched(Exception):
        pass

    def fetch(*_: object) -> None:
        raise Fetched

    monkeypatch.setattr(module, "lease_topic", leased)
    monkeypatch.setattr(module, "fetch_serving", fetch)
    for version, network in (("a", None), ("a1", "a"), ("a2", "a"), ("a3", "a")):
        registry.publish(version, network)
    registry.rollback("a1")
    for times in (1, 2):
        decision = refresh(registry.settings)
        assert (decision.outcome, decision.times, registry.serving) == ("kept", times, "a1")
        assert "the refreshes of a1 up to a3 were rolled back from" in decision.reason
        assert "`nextclick models promote a1` allows refreshes again" in decision.reason
    asyncio.run(promote("a1", registry.other(), registry.settings))
    with pytest.raises(Fetched):
        refresh(registry.settings)
    registry.publish("b")
    registry.publish("b2", "b")
    registry.rollback("a1")  # from another network: its refreshes say nothing about those of this one
    with pytest.raises(Fetched):
        refresh(registry.settings)
