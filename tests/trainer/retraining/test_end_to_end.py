"""Broker, two workers, archiver and schedule as processes under load; a retraining is killed halfway."""

import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from clicklog.archive.files import Archive
from schemas.durations import milliseconds
from schemas.settings import PREFIX, Settings
from tests.clicklog.archive.topic import ends
from tests.modelregistry.topic import decisions
from tests.trainer.retraining.shopclicks import DAY, retrain_settings, shop_clicks
from tests.worker.deployment import Deployment


def start(settings: Settings, log: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """`nextclick …` as a process."""
    names = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for field, about in Settings.model_fields.items():
        value: Any = getattr(settings, field)
        if value is not None and value != about.default:
            text = f"{milliseconds(value)}ms" if hasattr(value, "total_seconds") else str(value)
            names[PREFIX + field.upper()] = text
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "nextclick", *arguments],
            env={**names, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=Path(__file__).parents[3],
        )


def start_schedule(settings: Settings, log: Path, option: str) -> subprocess.Popen[bytes]:
    """Start a schedule of every minute, ten seconds before the next one."""
    time.sleep((50 - time.time()) % 60)
    return start(settings, log, "schedule", option, "* * * * *")


def recall_by_version(deployment: Deployment) -> dict[str | None, tuple[int, float]]:
    """Version → labels and live Recall@20: every click is the label of the answer before it in its session."""
    answers = {
        message.json["id"]: message.json for message in deployment.read(deployment.settings.recommendations_topic)
    }
    before: dict[Any, Any] = {}
    hits: defaultdict[str | None, list[bool]] = defaultdict(list)
    for message in deployment.read(deployment.settings.clicks_topic):
        answer = answers[f"{message.partition}-{message.offset}"]
        earlier = before.get(message.key)
        if earlier is not None:
            hits[earlier["model_version"]].append(answer["item_id"] in earlier["items"])
        before[message.key] = answer
    return {version: (len(labels), sum(labels) / len(labels)) for version, labels in hits.items()}


@pytest.mark.slow
@pytest.mark.xdist_group("deployments")
@pytest.mark.timeout(360)
@pytest.mark.usefixtures("compiled_kernel")
def test_models_get_better_while_the_workers_serve_without_a_gap(kafka_settings: Settings, tmp_path: Path) -> None:
    settings = retrain_settings(
        kafka_settings, tmp_path, retrain_margin=-0.1, archive_interval=kafka_settings.archive_interval / 60
    )
    assert settings.retrain_config is not None
    settings.retrain_config.write_text(
        "hidden = 64\nepochs = 6\nbatch-size = 32\nsamples = 512\nlearning-rate = 0.1\ndropout-hidden = 0.1\n"
    )
    frame = shop_clicks(2400)
    newest_day = frame["timestamp"].max() - DAY  # type: ignore[operator]
    history, today = (
        [(str(session), item, moment) for session, item, moment in part.rows()]
        for part in (frame.filter(pl.col("timestamp") < newest_day), frame.filter(pl.col("timestamp") >= newest_day))
    )
    log = tmp_path / "retrain.log"
    schedule: subprocess.Popen[bytes] | None = None
    deployment = Deployment(settings, tmp_path)
    archiver = start(settings, tmp_path / "archive.log", "archive")
    try:
        for number in (1, 2):
            deployment.start(f"w{number}")
        deployment.send(history)

        killed = start(settings, log, "retrain")
        checkpoint = settings.data_dir / "retraining" / settings.model_name / "checkpoint" / "checkpoint.safetensors"
        deadline = time.monotonic() + 120  # includes compiling the kernel
        while not checkpoint.exists():
            assert killed.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        killed.kill()
        killed.wait()
        assert checkpoint.exists()
        assert decisions(settings) == []

        assert start(settings, log, "retrain").wait(90) == 0, log.read_text()
        assert "going on with a retraining that was interrupted" in log.read_text()
        deployment.wait_until(
            lambda: all("is ready" in worker.said for worker in deployment.workers), "workers with the first model"
        )
        schedule = start_schedule(settings, log, "--cron")
        with deployment.flowing(today, rate=len(today) / 30):
            deployment.wait_until(
                lambda: all(
                    worker.said.count("INFO worker.model_follower: model ") >= 2 for worker in deployment.workers
                ),
                "workers with a second model",
                120,
            )
            schedule.terminate()
            assert schedule.wait(30) == 0, log.read_text()

        deployment.wait_until_all_answered()
        assert all(worker.alive for worker in deployment.workers)
        archive = Archive(settings.archive_uri, settings.clicks_topic)
        deployment.wait_until(lambda: sum(ends(archive.files()).values()) == len(frame), "all clicks archived", 30)
        assert archiver.poll() is None
    finally:
        for process in (archiver, schedule):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(60)
        deployment.close()

    first, second, *_ = [d for d in decisions(settings) if d.outcome == "published"]
    assert (first.outcome, first.serving) == ("published", None)
    assert (second.outcome, second.serving, second.kind) == ("published", first.candidate, "warm")
    live = recall_by_version(deployment)
    assert live[first.candidate][1] > live[None][1] + 0.05, live
