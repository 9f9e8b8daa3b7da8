"""Decisions by live evidence: promote a better shadow, drop a worse one, roll back a new model that is worse."""

import asyncio
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from aiokafka import AIOKafkaProducer

from modelregistry.change import this_user
from modelregistry.publishing import publish_bundle
from modelregistry.retention import verdicts
from modelregistry.store import BundleStore
from schemas.announcement import ModelAnnouncement
from schemas.decision import Difference, Figures
from schemas.evidence import GROUPS, LiveEvidence
from schemas.settings import Settings
from tests.modelregistry.topic import decisions, models_state, on_topic, promote
from tests.trainer.retraining.shopclicks import DAY, retrain_settings, send, shop_clicks
from tests.worker.deployment import Deployment, bundle
from trainer.retraining.run import retrain
from trainer.retraining.shadow_trial import LiveResult, decide, sum_up, verdict


def evidence(worker: str, sessions: int, champion: float, shadow: float, seed: int = 0) -> LiveEvidence:
    """Sessions of ten clicks, each in one group; a session is equally easy or hard for both models."""
    rng = random.Random(seed)
    events, mine, its = [0] * GROUPS, [0] * GROUPS, [0] * GROUPS
    for _ in range(sessions):
        group, luck = rng.randrange(GROUPS), rng.uniform(0.5, 1.5)
        events[group] += 10
        mine[group] += sum(rng.random() < champion * luck for _ in range(10))
        its[group] += sum(rng.random() < shadow * luck for _ in range(10))
    return LiveEvidence(
        name="m",
        worker=worker,
        champion="v1",
        shadow="v2",
        counted_at=datetime.now(UTC),
        events=events,
        champion_hits=mine,
        shadow_hits=its,
        champion_reciprocal_ranks=sum(mine) / 4,
        shadow_reciprocal_ranks=sum(its) / 2,
    )


def test_what_all_workers_saw_is_added_up() -> None:
    one, other = evidence("a", 400, 0.4, 0.5, seed=1), evidence("b", 600, 0.4, 0.5, seed=2)
    result = sum_up([one, other])
    assert result is not None
    assert result.events == 10_000
    assert result.champion.recall == pytest.approx((sum(one.champion_hits) + sum(other.champion_hits)) / 10_000)
    assert result.shadow.mrr == pytest.approx(result.shadow.recall / 2)
    assert result.difference.value == pytest.approx(result.shadow.recall - result.champion.recall)
    assert sum_up([]) is None
    assert sum_up([evidence("a", 0, 0.4, 0.5)]) is None


def test_the_interval_holds_the_truth_and_is_no_wider_than_it_needs() -> None:
    found = [sum_up([evidence("a", 500, 0.4, 0.4, seed)]) for seed in range(200)]
    differences = [result.difference for result in found if result is not None]
    assert sum(not d.low <= 0 <= d.high for d in differences) <= 4  # 3 standard errors: 0.3 % of the 200 are expected
    spread = (sum(d.value**2 for d in differences) / len(differences)) ** 0.5
    reach = sum(d.high - d.value for d in differences) / len(differences)
    assert reach == pytest.approx(3 * spread, rel=0.2)


def test_of_one_robot_nothing_is_sure() -> None:
    honest = evidence("a", 300, 0.4, 0.4)
    robot = honest.events.copy(), honest.champion_hits.copy(), honest.shadow_hits.copy()
    robot[0][7] += 3000
    robot[2][7] += 3000
    both = honest.model_copy(update=dict(zip(("events", "champion_hits", "shadow_hits"), robot, strict=True)))
    alone = honest.model_copy(
        update={"events": [2000] + [0] * 63, "champion_hits": [0] * 64, "shadow_hits": [900] + [0] * 63}
    )
    for one in (both, alone):
        found = sum_up([one])
        assert found is not None
        assert found.difference.low < 0 < found.difference.high


def result(value: float, reach: float, events: int = 5000) -> LiveResult:
    figures = Figures(recall=0.4, mrr=0.2)
    return LiveResult(events, figures, figures, Difference(value=value, low=value - reach, high=value + reach))


@pytest.mark.parametrize(
    ("role", "seen", "days", "outcome"),
    [
        ("challenger", None, 1, None),
        ("challenger", None, 8, "dropped"),
        ("challenger", result(0.1, 0.01, events=1999), 1, None),
        ("challenger", result(0.02, 0.01), 1, "promoted"),
        ("challenger", result(0.02, 0.03), 1, None),
        ("challenger", result(-0.02, 0.01), 1, "dropped"),
        ("challenger", result(0.02, 0.03, events=200_000), 1, "dropped"),
        ("challenger", result(0.02, 0.03), 8, "dropped"),
        ("former", None, 8, "confirmed"),
        ("former", result(0.02, 0.01), 1, "rolled-back"),
        ("former", result(0.02, 0.03), 1, None),
        ("former", result(-0.02, 0.01), 1, "confirmed"),
        ("former", result(0.02, 0.03, events=200_000), 1, "confirmed"),
    ],
)
def test_what_becomes_of_a_shadow(
    role: Literal["challenger", "former"], seen: LiveResult | None, days: int, outcome: str | None
) -> None:
    found = verdict(role, seen, timedelta(days=days).total_seconds(), Settings())
    assert (found[0] if found else None) == outcome


def test_the_margin_of_the_settings_counts() -> None:
    seen = result(0.02, 0.01)
    strict, loose = Settings(retrain_margin=0.015), Settings(retrain_margin=-0.05)
    assert verdict("challenger", seen, 0, strict) is None
    found = verdict("challenger", result(-0.01, 0.02), 0, loose)
    assert found is not None
    assert found[0] == "promoted"


def state(settings: Settings) -> tuple[str, tuple[str, str | None] | None]:
    """The serving version, and the shadow with its role."""
    now = models_state(settings)
    assert now.serving is not None
    return now.serving.version, (now.shadow.version, now.shadow.role) if now.shadow else None


def published(settings: Settings, directory: Path, version: str, *, shadow: bool = False) -> ModelAnnouncement:
    path = bundle(directory / "bundles" / version, version, seed=len(version))
    return asyncio.run(publish_bundle(path, settings, shadow=shadow))


def test_what_a_kill_left_half_done_is_finished(kafka_settings: Settings, tmp_path: Path) -> None:
    settings = kafka_settings
    published(settings, tmp_path, "before")
    published(settings, tmp_path, "after-it", shadow=True)
    promote("after-it", settings)  # the process was killed here
    assert decide(settings) is None
    assert state(settings) == ("after-it", ("before", "former"))
    promote("before", settings)  # rolled back, and killed again
    assert decide(settings) is None
    assert state(settings) == ("before", None)


def test_what_somebody_chose_is_not_overruled(kafka_settings: Settings, tmp_path: Path) -> None:
    settings = kafka_settings
    published(settings, tmp_path, "first")
    published(settings, tmp_path, "second-one", shadow=True)
    names = {
        f"NEXTCLICK_{name.upper()}": str(getattr(settings, name))
        for name in ("broker", "models_uri", "models_topic", "clicks_topic", "recommendations_topic", "rejected_topic")
    }
    command = [sys.executable, "-m", "nextclick", "models", "promote", "first"]
    done = subprocess.run(command, env=os.environ | names, capture_output=True, text=True, check=True)
    assert "no longer scored" in done.stdout
    assert state(settings) == ("first", None)


def test_old_counts_do_not_decide_a_new_contest(kafka_settings: Settings, tmp_path: Path) -> None:
    settings = kafka_settings.model_copy(update={"model_name": "m"})
    published(settings, tmp_path, "v1")
    published(settings, tmp_path, "v2", shadow=True)
    told = evidence("a", 900, 0.2, 0.6)

    async def tell(moment: datetime) -> None:
        record = told.model_copy(update={"counted_at": moment})
        async with AIOKafkaProducer(bootstrap_servers=settings.brokers) as producer:
            await producer.send_and_wait(settings.models_topic, record.model_dump_json().encode(), key=record.key)

    asyncio.run(tell(datetime.now(UTC) - timedelta(days=1)))
    assert decide(settings) is None
    asyncio.run(tell(datetime.now(UTC)))
    decision = decide(settings)
    assert decision is not None
    assert decision.outcome == "promoted"
    assert state(settings) == ("v2", ("v1", "former"))


@pytest.mark.slow
@pytest.mark.xdist_group("deployments")
@pytest.mark.timeout(240)
@pytest.mark.usefixtures("compiled_kernel")
def test_from_a_shadow_to_the_serving_model_and_back(
    kafka_settings: Settings, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = retrain_settings(
        kafka_settings,
        tmp_path,
        retrain_release="shadow",
        live_fewest=400,
        evidence_interval=timedelta(milliseconds=500),
    )
    frame = shop_clicks()
    newest_day = frame["timestamp"].max() - DAY  # type: ignore[operator]
    send(settings, frame.filter(pl.col("timestamp") < newest_day))
    deployment = Deployment(settings, tmp_path)
    request.addfinalizer(deployment.close)
    deployment.publish("untrained")
    assert decide(settings) is None, "there is no shadow"

    shadowed = retrain(settings)
    assert (shadowed.outcome, shadowed.serving) == ("shadowed", "untrained")
    trained = str(shadowed.candidate)
    assert state(settings) == ("untrained", (trained, "challenger"))
    kept = verdicts(models_state(settings), BundleStore(settings.models_uri), settings.models_kept)
    assert {v.version: v.kept for v in kept}[trained] == "is scored as a shadow"
    assert decide(settings) is None, "nothing is known yet"
    meanwhile = retrain(settings)
    assert (meanwhile.outcome, meanwhile.candidate) == ("kept", None), "one contest at a time"

    worker = deployment.start()
    deployment.wait_until(lambda: f"shadow model {trained} is ready" in worker.said, "the shadow")
    clicks = [(str(a), b, c) for a, b, c in frame.filter(pl.col("timestamp") >= newest_day).rows()]

    def live(outcome: str) -> None:
        """Send clicks until this decision is recorded."""
        for _ in range(60):
            deployment.send([(f"{outcome}-{session}", item, moment) for session, item, moment in clicks[:1000]])
            deployment.wait_until_all_answered()
            deployment.wait_until(lambda: worker.alive, "the worker")
            decision = decide(settings)
            if decision is not None:
                assert decision.outcome == outcome, decision
                return
        raise AssertionError(f"not {outcome}\n{worker.said}")

    try:
        live("promoted")
        assert state(settings) == (trained, ("untrained", "former"))
        deployment.wait_until(lambda: "shadow model untrained is ready" in worker.said, "the watch")
        live("confirmed")
        assert state(settings) == (trained, None)

        good = models_state(settings).history[-1]
        promote("untrained", settings)
        on_topic(settings, lambda topic: topic.score_shadow(good, "former"))
        deployment.wait_until(
            lambda: worker.said.count(f"shadow model {trained} is ready") == 2, "the former model as a shadow"
        )
        live("rolled-back")
        assert state(settings) == (trained, None)
    finally:
        deployment.close()

    story = decisions(settings)
    assert [(decision.outcome, decision.by) for decision in story] == [
        ("published", this_user()),
        ("shadowed", "retraining"),
        ("kept", "retraining"),
        ("promoted", "live evidence"),
        ("confirmed", "live evidence"),
        ("promoted", this_user()),
        ("rolled-back", "live evidence"),
    ]
    promoted, _, _, back = story[3:]
    assert models_state(settings).withdrawn == {"untrained"}
    assert promoted.candidate == trained
    assert promoted.judgement is not None
    assert promoted.judgement.over["serving"].low > 0
    assert (back.candidate, back.serving) == ("untrained", trained)
    assert back.judgement is not None
    assert back.judgement.over["serving"].high < 0
