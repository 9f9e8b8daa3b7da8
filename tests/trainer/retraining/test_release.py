"""Releasing an accepted candidate: only with the lease, and only over the model that it was compared with."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from clicklog.sessions import Sessions
from modelregistry.leased_topic import LeasedTopic
from modelregistry.models_topic import ModelsTopic
from modelregistry.publishing import publish
from modelregistry.store import BundleStore
from rankers.bundle import read_bundle
from schemas.announcement import ModelAnnouncement
from schemas.decision import Figures, Judgement
from schemas.errors import TrainingError
from schemas.evidence import GROUPS, LiveEvidence
from schemas.settings import Settings
from tests.modelregistry.memory_topic import MemoryTopic
from tests.worker.deployment import bundle
from trainer.retraining import shadow_trial
from trainer.retraining.candidate import Candidate
from trainer.retraining.outcome import Accepted, DecisionDraft
from trainer.retraining.release import release


class FakeLease:
    """A lease that is held, or lost."""

    lost = False

    async def check(self) -> None:
        if self.lost:
            raise TrainingError("the lease was lost")

    async def __aenter__(self) -> "FakeLease":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class FakeConnection:
    def __init__(self, topic: ModelsTopic, lease: FakeLease) -> None:
        self.topic, self.lease = topic, lease

    def run(self, work: Any) -> Any:
        return asyncio.run(work)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None, models_uri=str(tmp_path / "models"), data_dir=tmp_path / "data", live_fewest=100, model_name="m"
    )


def published(topic: MemoryTopic, settings: Settings, directory: Path, version: str, shadow: bool = False) -> Path:
    path = bundle(directory / "bundles" / version, version)
    asyncio.run(publish(path, topic, settings, shadow=shadow))
    return path


def accepted(directory: Path, serving: ModelAnnouncement | None) -> Accepted:
    read = read_bundle(bundle(directory / "candidate", "candidate", seed=1))
    sessions = Sessions(np.arange(4), np.array([0, 2, 4]))
    candidate = Candidate(read, {"rows": torch.ones(2)}, "warm", read.items, sessions)
    figures = {"candidate": Figures(recall=0.4, mrr=0.2)}
    judgement = Judgement(sessions=2, events=2, first=None, last=None, figures=figures, over={}, margin=0)
    return Accepted(candidate, serving, "serve", judgement, "better")


def state(topic: MemoryTopic) -> Any:
    return asyncio.run(topic.read())


@pytest.mark.parametrize("lost", [False, True])
def test_nothing_is_published_without_the_lease(lost: bool, settings: Settings, tmp_path: Path) -> None:
    topic, lease = MemoryTopic(settings), FakeLease()
    published(topic, settings, tmp_path, "v1")
    connection = cast(LeasedTopic, FakeConnection(topic, lease))
    result, draft = accepted(tmp_path, state(topic).serving), DecisionDraft("m", serving="v1")
    lease.lost = lost
    if lost:
        before = list(topic.log)
        with pytest.raises(TrainingError, match="the lease was lost"):
            release(result, draft, connection, settings, print)
        assert topic.log == before
        assert BundleStore(settings.models_uri).versions() == ["v1"]
        return
    decision = release(result, draft, connection, settings, print)
    now = state(topic)
    assert (now.serving.version, now.shadow.version, now.shadow.role) == ("candidate", "v1", "former")
    assert (decision.outcome, decision.by) == ("published", "retraining")
    assert now.decisions()[-1] == decision
    assert BundleStore(settings.models_uri).versions() == ["candidate", "v1"]


def test_a_decision_is_recorded_once_and_with_the_announcement(settings: Settings, tmp_path: Path) -> None:
    topic = MemoryTopic(settings)
    published(topic, settings, tmp_path, "v1")
    sent: list[list[bytes]] = []
    send = topic._send

    async def kept(*messages: Any) -> None:
        sent.append([key for key, _ in messages])
        await send(*messages)

    topic._send = kept  # type: ignore[method-assign]
    connection = cast(LeasedTopic, FakeConnection(topic, FakeLease()))
    decision = release(accepted(tmp_path, state(topic).serving), DecisionDraft("m"), connection, settings, print)
    assert sent == [[b"m/announced/candidate", b"m", decision.key], [b"m/shadow"]]


def test_a_shadow_is_scored_beside_the_model_that_serves_on(settings: Settings, tmp_path: Path) -> None:
    topic = MemoryTopic(settings)
    published(topic, settings, tmp_path, "v1")
    connection = cast(LeasedTopic, FakeConnection(topic, FakeLease()))
    result = replace(accepted(tmp_path, state(topic).serving), release="shadow")
    decision = release(result, DecisionDraft("m", serving="v1"), connection, settings, print)
    now = state(topic)
    assert (now.serving.version, now.shadow.version, now.shadow.role) == ("v1", "candidate", "challenger")
    assert decision.outcome == "shadowed"


def test_a_refresh_during_a_retraining_does_not_stop_it_and_becomes_the_former_model(
    settings: Settings, tmp_path: Path
) -> None:
    topic = MemoryTopic(settings)
    published(topic, settings, tmp_path, "v1")
    result = accepted(tmp_path, state(topic).serving)
    refreshed = state(topic).serving.model_copy(update={"version": "v2", "refresh_of": "v1"})
    asyncio.run(topic.announce(refreshed))
    connection = cast(LeasedTopic, FakeConnection(topic, FakeLease()))
    assert release(result, DecisionDraft("m"), connection, settings, print).outcome == "published"
    now = state(topic)
    assert (now.serving.version, now.shadow.version, now.shadow.role) == ("candidate", "v2", "former")


def test_live_evidence_decides_nothing_without_the_lease(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, lease = MemoryTopic(settings), FakeLease()
    published(topic, settings, tmp_path, "v1")
    published(topic, settings, tmp_path, "v2", shadow=True)
    shadow = state(topic).shadow
    counted = LiveEvidence(
        name="m", worker="w", champion="v1", shadow="v2", counted_at=shadow.announced_at, events=[10] * GROUPS,
        champion_hits=[1] * GROUPS, shadow_hits=[9] * GROUPS, champion_reciprocal_ranks=1, shadow_reciprocal_ranks=9,
    )  # fmt: skip
    topic.log.append((counted.key, counted.model_dump_json().encode()))

    class Opened(MemoryTopic):
        def __init__(self, settings: Settings) -> None:
            super().__init__(settings, topic.log)

        async def __aenter__(self) -> "Opened":
            return self

    monkeypatch.setattr(shadow_trial, "ModelsTopic", Opened)
    monkeypatch.setattr(shadow_trial, "Lease", lambda *_: lease)
    lease.lost = True
    before = list(topic.log)
    with pytest.raises(TrainingError, match="the lease was lost"):
        shadow_trial.decide(settings)
    assert topic.log == before
    lease.lost = False
    decision = shadow_trial.decide(settings)
    assert decision is not None
    assert (decision.outcome, decision.by, state(topic).serving.version) == ("promoted", "live evidence", "v2")
