"""Decisions by live evidence, without a Kafka: what is announced, recorded and scored afterwards."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelregistry.models_state import shadow_key
from modelregistry.publishing import promote, publish
from schemas.decision import Decision
from schemas.evidence import GROUPS, LiveEvidence
from schemas.settings import Settings
from tests.modelregistry.memory_topic import MemoryTopic
from tests.worker.deployment import bundle
from trainer.retraining import shadow_trial


class Lease:
    async def check(self) -> None:
        """It is held."""

    async def __aenter__(self) -> "Lease":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to do."""


class Trial:
    """A models topic in memory with the bundles that are announced on it."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.settings = Settings(
            _env_file=None, models_uri=str(directory / "models"), model_name="m", live_fewest=100, live_most=5000,
            live_longest="7d", retrain_margin=0.01,
        )  # fmt: skip
        self.topic = MemoryTopic(self.settings)
        log = self.topic.log

        class Opened(MemoryTopic):
            def __init__(self, settings: Settings) -> None:
                super().__init__(settings, log)

            async def __aenter__(self) -> "Opened":
                return self

            async def __aexit__(self, *_: object) -> None:
                """Nothing to do."""

        monkeypatch.setattr(shadow_trial, "ModelsTopic", Opened)
        monkeypatch.setattr(shadow_trial, "Lease", lambda *_: Lease())

    def publish(self, version: str, shadow: bool = False) -> None:
        path = bundle(self.directory / "bundles" / version, version)
        asyncio.run(publish(path, self.topic, self.settings, shadow=shadow))

    def promote(self, version: str) -> None:
        asyncio.run(promote(version, self.topic, self.settings))

    def now(self) -> tuple[str | None, tuple[str, str | None] | None]:
        """The serving version, and the shadow with its role."""
        state = asyncio.run(self.topic.read())
        shadow = (state.shadow.version, state.shadow.role) if state.shadow else None
        return state.serving.version if state.serving else None, shadow

    def count(self, champion: str, shadow: str, mine: int, its: int, events: int = 10) -> None:
        """One worker's counts in each group of sessions."""
        counted = LiveEvidence(
            name="m", worker="w", champion=champion, shadow=shadow, counted_at=datetime.now(UTC),
            events=[events] * GROUPS, champion_hits=[mine] * GROUPS, shadow_hits=[its] * GROUPS,
            champion_reciprocal_ranks=mine * GROUPS / 2, shadow_reciprocal_ranks=its * GROUPS / 4,
        )  # fmt: skip
        self.topic.log.append((counted.key, counted.model_dump_json().encode()))

    def age_shadow(self, days: float) -> None:
        """Let the shadow have been announced that long ago."""
        shadow = asyncio.run(self.topic.read()).shadow
        assert shadow is not None
        older = shadow.model_copy(update={"announced_at": shadow.announced_at - timedelta(days=days)})
        self.topic.log.append((shadow_key("m"), older.model_dump_json().encode()))

    def decide(self) -> Decision | None:
        return shadow_trial.decide(self.settings)


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    return Trial(tmp_path, monkeypatch)


def test_without_a_shadow_or_evidence_nothing_is_decided(trial: Trial) -> None:
    assert trial.decide() is None
    trial.publish("v1")
    assert trial.decide() is None
    trial.publish("v2", shadow=True)
    assert trial.decide() is None
    assert trial.now() == ("v1", ("v2", "challenger"))


def test_a_better_shadow_is_promoted_and_the_former_model_is_scored_beside_it(trial: Trial) -> None:
    trial.publish("v1")
    trial.publish("v2", shadow=True)
    trial.count("v1", "v2", mine=2, its=6)
    decision = trial.decide()
    assert decision is not None
    assert (decision.outcome, decision.candidate, decision.serving) == ("promoted", "v2", "v1")
    judgement = decision.judgement
    assert judgement is not None
    assert (judgement.events, judgement.margin, judgement.over["serving"].value) == (640, 0.01, pytest.approx(0.4))
    assert judgement.figures["candidate"].recall == pytest.approx(0.6)
    assert judgement.figures["candidate"].mrr == pytest.approx(6 / 40)
    assert judgement.figures["serving"].mrr == pytest.approx(2 / 20)
    assert trial.now() == ("v2", ("v1", "former"))
    assert decision.withdrawn == {}


def test_a_worse_shadow_is_dropped(trial: Trial) -> None:
    trial.publish("v1")
    trial.publish("v2", shadow=True)
    trial.count("v1", "v2", mine=6, its=2)
    decision = trial.decide()
    assert decision is not None
    assert (decision.outcome, decision.candidate, trial.now()) == ("dropped", "v2", ("v1", None))


def test_a_new_model_that_does_worse_than_the_former_one_is_rolled_back(trial: Trial) -> None:
    trial.publish("v1")
    trial.publish("v2", shadow=True)
    trial.count("v1", "v2", mine=2, its=6)
    trial.decide()
    trial.count("v2", "v1", mine=2, its=6)
    decision = trial.decide()
    assert decision is not None
    assert (decision.outcome, decision.candidate, decision.serving) == ("rolled-back", "v2", "v1")
    judgement = decision.judgement
    assert judgement is not None
    assert judgement.margin == 0
    assert judgement.figures["candidate"].recall == pytest.approx(0.2)
    over = judgement.over["serving"]
    assert over.value == pytest.approx(-0.4)
    assert over.low <= over.value <= over.high < 0
    assert list(decision.withdrawn) == ["v2"]
    assert trial.now() == ("v1", None)
    assert asyncio.run(trial.topic.read()).withdrawn == {"v2"}


@pytest.mark.parametrize(
    ("days", "events", "outcome"),
    [(1, 5, None), (8, 5, "dropped"), (1, 79, "dropped"), (6.9, 78, None), (0, 1, None), (8, 1, "dropped")],
)
def test_what_stays_unclear_is_dropped_at_the_end(trial: Trial, days: float, events: int, outcome: str | None) -> None:
    trial.publish("v1")
    trial.publish("v2", shadow=True)
    trial.age_shadow(days)
    noise = LiveEvidence(
        name="m", worker="w", champion="v1", shadow="v2", counted_at=datetime.now(UTC), events=[events] * GROUPS,
        champion_hits=[0, events] * (GROUPS // 2), shadow_hits=[events, 0] * (GROUPS // 2),
        champion_reciprocal_ranks=1, shadow_reciprocal_ranks=1,
    )  # fmt: skip
    trial.topic.log.append((noise.key, noise.model_dump_json().encode()))
    decision = trial.decide()
    assert (decision.outcome if decision else None) == outcome


def test_what_a_kill_left_half_done_is_finished_with_the_model_that_served_last(trial: Trial) -> None:
    for version in ("v0", "v1"):
        trial.publish(version)
    trial.publish("v2", shadow=True)
    trial.promote("v2")  # the process was killed here
    assert trial.decide() is None
    assert trial.now() == ("v2", ("v1", "former"))
    trial.promote("v1")  # rolled back, and killed again
    assert trial.decide() is None
    assert trial.now() == ("v1", None)


def test_a_shadow_that_served_already_when_it_was_chosen_is_ended(trial: Trial) -> None:
    trial.publish("v1")
    trial.publish("v2")
    trial.publish("v2", shadow=True)
    assert trial.decide() is None
    assert trial.now() == ("v2", None)


def test_the_only_model_as_its_own_shadow_is_ended(trial: Trial) -> None:
    trial.publish("v1", shadow=True)
    trial.promote("v1")
    assert trial.decide() is None
    assert trial.now() == ("v1", None)
