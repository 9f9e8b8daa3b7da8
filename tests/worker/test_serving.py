"""The worker from outside: model swaps, equal figures, expiry of sessions, one-line errors at a bad start."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from clicklog.clicks import Clicks
from rankers.bundle import read_bundle
from schemas.evidence import LiveEvidence
from tests.worker.deployment import ITEMS, Deployment, clicks_of
from trainer.train import evaluate_bundle

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployments"), pytest.mark.usefixtures("compiled_scorer")]


def metrics(port: int) -> dict[tuple[str, ...], float]:
    """(name, label values …) → value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        families = text_string_to_metric_families(page.read().decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_models_are_swapped_while_clicks_flow_and_the_last_one_survives_a_kill(deployment: Deployment) -> None:
    worker = deployment.start()
    waves = [clicks_of(100, 10, seed=seed) for seed in range(4)]
    deployment.send(waves[0])
    deployment.wait_for_answers(1000)
    with deployment.flowing(waves[1] + waves[2], rate=250):
        deployment.publish("v1", seed=1)
        deployment.wait_until(lambda: "model v1 is ready" in worker.said, "the first model")
        time.sleep(1)
        deployment.publish("v2", seed=2, hidden=24)
        deployment.wait_until(lambda: "model v2 is ready" in worker.said, "the second model")
    deployment.wait_for_answers(3000)
    worker.kill()
    deployment.start()
    deployment.send(waves[3])
    deployment.wait_until_all_answered()
    outcome = deployment.outcome()
    assert outcome.duplicates == 0
    by_time = sorted(deployment.read(deployment.settings.recommendations_topic), key=lambda m: (m.timestamp, m.offset))
    versions = [message.json["model_version"] for message in by_time]
    assert versions[0] is None
    assert set(versions) == {None, "v1", "v2"}
    assert all(version == "v2" for version in versions[-1000:])
    for partition in range(deployment.settings.partitions):
        served = [m.json["model_version"] or "" for m in by_time if m.partition == partition]
        assert served == sorted(served), "an older model answered after a newer one"


def test_the_figures_of_the_topics_of_evaluate_and_of_the_metrics_page_are_equal(
    deployment: Deployment, free_port: int
) -> None:
    deployment.publish()
    deployment.start(NEXTCLICK_WEB_PORT=str(free_port), web=True)
    clicks = clicks_of(300, 8)
    unknown = [(session, ITEMS + 5, moment) for session, _, moment in clicks[500:540]]
    clicks = sorted(clicks + unknown, key=lambda click: click[2])
    deployment.send(clicks)
    deployment.wait_until_all_answered()

    frame = pl.DataFrame(clicks, schema=["session_id", "item_id", "timestamp"], orient="row")
    offline = evaluate_bundle(read_bundle(deployment.bundles["v1"]), Clicks(frame, "clicks"), "cpu")

    outcome = deployment.outcome()
    sessions: defaultdict[bytes | None, list[str]] = defaultdict(list)
    for name, click in outcome.clicks.items():
        sessions[click.key].append(name)
    ranks, labels = [], 0
    for names in sessions.values():
        for before, after in pairwise(names):
            top, item = outcome.answers[before][0]["items"], outcome.clicks[after].json["item_id"]
            labels += 1
            if item < ITEMS:
                ranks.append(top.index(item) + 1 if item in top else 0)
    assert len(ranks) == offline.events
    assert sum(rank > 0 for rank in ranks) / len(ranks) == pytest.approx(offline.recall[20], abs=1e-12)
    assert sum(1 / rank for rank in ranks if rank) / len(ranks) == pytest.approx(offline.mrr[20], abs=1e-12)

    page = metrics(free_port)
    assert page["nextclick_live_labels_total", "v1", "model"] == labels  # clicks on an unknown item count as misses
    assert page["nextclick_live_hits_total", "v1", "model"] == sum(rank > 0 for rank in ranks)
    assert page["nextclick_live_reciprocal_ranks_total", "v1", "model"] == pytest.approx(
        sum(1 / rank for rank in ranks if rank)
    )
    assert page["nextclick_clicks_answered_total",] == len(clicks)
    assert page["nextclick_latency_seconds_count",] == len(clicks)


def test_a_shadow_model_is_judged_and_never_answers(deployment: Deployment, free_port: int) -> None:
    deployment.publish("v1", seed=1)
    worker = deployment.start(NEXTCLICK_WEB_PORT=str(free_port), NEXTCLICK_EVIDENCE_INTERVAL="1s", web=True)
    deployment.publish("v2", seed=2, shadow=True)
    deployment.wait_until(lambda: "shadow model v2 is ready" in worker.said, "the shadow")
    deployment.send(clicks_of(100, 10))
    deployment.wait_until_all_answered()
    answers = deployment.read(deployment.settings.recommendations_topic)
    assert {message.json["model_version"] for message in answers} == {"v1"}
    page = metrics(free_port)
    assert (
        page["nextclick_live_labels_total", "v1", "model"] == page["nextclick_live_labels_total", "v2", "model"] == 900
    )
    assert page["nextclick_model", "v2", "shadow"] == 1

    def evidence() -> list[LiveEvidence]:
        told = [message for message in deployment.read(deployment.settings.models_topic) if b"/live/" in message.key]  # type: ignore[operator]
        return [LiveEvidence.model_validate_json(message.value or b"") for message in told]

    deployment.wait_until(lambda: any(sum(told.events) == 900 for told in evidence()), "the evidence of all clicks")
    told = evidence()[-1]
    assert (told.champion, told.shadow) == ("v1", "v2")
    assert sum(told.champion_hits) == page["nextclick_live_hits_total", "v1", "model"]
    assert sum(told.shadow_hits) == page["nextclick_live_hits_total", "v2", "model"]
    assert told.shadow_reciprocal_ranks == pytest.approx(page["nextclick_live_reciprocal_ranks_total", "v2", "model"])


def test_sessions_whose_life_is_over_leave_the_disk(deployment: Deployment, free_port: int) -> None:
    deployment.publish()
    deployment.start(NEXTCLICK_SESSION_LIFE="4s", NEXTCLICK_WEB_PORT=str(free_port), web=True)
    for wave in range(3):
        deployment.send(clicks_of(300, 2, seed=wave))
        deployment.wait_for_answers(600 * (wave + 1))
        time.sleep(2)
    deployment.wait_until(
        lambda: metrics(free_port)["nextclick_sessions_expired_total",] == 900, "all sessions to leave", 30
    )
    deployment.send(clicks_of(10, 2, seed=0))
    deployment.wait_until_all_answered()


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (
            {"NEXTCLICK_BROKR": "x"},
            "NEXTCLICK_BROKR (from the environment) is not a setting: did you mean",
        ),
        ({"NEXTCLICK_BROKER": "127.0.0.1:1"}, "no Kafka broker answers at 127.0.0.1:1 (NEXTCLICK_BROKER)"),
        ({"NEXTCLICK_PARTITIONS": "7"}, "it has 4 partitions, the settings say 7"),
        ({"NEXTCLICK_MODELS_TOPIC": "nowhere"}, "has no topic 'nowhere': create what is missing by `nextclick topics`"),
        ({"NEXTCLICK_SESSION_GAP": "soon"}, "NEXTCLICK_SESSION_GAP='soon': 'soon' is not a duration"),
        ({"NEXTCLICK_DEVICE": "cuda:99"}, "NEXTCLICK_DEVICE='cuda:99': torch sees"),
    ],
)
def test_a_worker_that_cannot_start_says_why_in_one_line(
    deployment: Deployment, environment: dict[str, str], line: str
) -> None:
    worker = deployment.start(**environment)
    assert worker.process.wait(60) == 1
    last = worker.said.splitlines()[-1]
    assert last.startswith("nextclick: ")
    assert line in last
    assert "Traceback" not in worker.said


def test_a_worker_leaves_the_bundles_at_the_models_uri_alone(deployment: Deployment) -> None:
    registry = deployment.directory / "w1" / "models"  # as with default settings: inside the data directory
    deployment.settings = deployment.settings.model_copy(update={"models_uri": str(registry)})
    worker = deployment.start("w1")
    for version in ("v1", "v2"):
        deployment.publish(version, seed=len(version))
        deployment.wait_until(lambda version=version: f"model {version} is ready" in worker.said, version)
    assert sorted(path.name for path in registry.iterdir()) == ["v1", "v2"]


def test_two_workers_in_one_data_directory(deployment: Deployment) -> None:
    deployment.publish()
    first = deployment.start("w1")
    deployment.wait_until(lambda: "model v1 is ready" in first.said, "the first worker")
    second = deployment.start("w1")
    assert second.process.wait(60) == 1
    assert "is in use by another worker: give each worker its own" in second.said
    assert first.alive


def test_a_web_port_that_is_taken(deployment: Deployment, free_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        worker = deployment.start(NEXTCLICK_WEB_PORT=str(free_port), web=True)
        assert worker.process.wait(60) == 1
    assert f"NEXTCLICK_WEB_PORT={free_port} on 127.0.0.1 cannot be used" in worker.said.splitlines()[-1]
    assert "Traceback" not in worker.said


def test_importing_the_package_needs_neither_settings_nor_a_broker() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import worker.recommender, worker.session_state; print('fine')"],
        env={"NEXTCLICK_BROKR": "x", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "fine\n"
