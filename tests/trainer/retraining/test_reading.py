"""The first stage of a retraining, without a Kafka: from which time the log is read, and what ends it early."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from modelregistry.leased_topic import LeasedTopic
from modelregistry.models_state import serving_key
from modelregistry.publishing import publish
from rankers.bundle import read_bundle, write_bundle
from schemas.announcement import ClickSpan
from schemas.errors import BundleError, SettingsError
from schemas.settings import Settings
from tests.modelregistry.memory_topic import MemoryTopic
from tests.worker.deployment import bundle
from trainer.retraining import reading as module
from trainer.retraining.outcome import DecisionDraft, Refused
from trainer.retraining.reading import Reading, read
from trainer.retraining.resume_point import load_resume_point, resume_directory, save_resume_point

NOW = time.time_ns() // 1_000_000
DAY = 86_400_000


class Log:
    """A click log of one partition; `asked` has the spans that were opened and read."""

    source = "topic 'clicks'"
    missing: tuple[str, ...] = ()
    skipped = 0

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.logs = {0: "log"}
        self.offsets = {0: (0, 40)}

    @contextlib.contextmanager
    def open(self, _settings: Settings, since: int, run: Any) -> Iterator["Log"]:
        assert run is not None
        self.asked.append(since)
        yield self

    def frame(self, ends: Mapping[int, int] | None = None) -> pl.DataFrame:
        self.asked.append(dict(ends) if ends is not None else None)
        times = [NOW - 1000 * number for number in range(40)]
        return pl.DataFrame({"session_id": [n // 2 for n in range(40)], "item_id": range(40), "timestamp": times})


class Retraining:
    """The first stage, again and again."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = Settings(
            _env_file=None, data_dir=directory / "data", models_uri=str(directory / "models"), retrain_window="3d"
        )
        self.directory, self.topic, self.log = directory, MemoryTopic(self.settings), Log()
        self.said: list[str] = []
        monkeypatch.setattr(module, "open_log", self.log.open)

    def publish(self, version: str, shadow: bool = False) -> None:
        path = bundle(self.directory / "bundles" / version, version)
        asyncio.run(publish(path, self.topic, self.settings, shadow=shadow))

    def read(self, now: int = NOW) -> Reading | Refused:
        connection = cast(LeasedTopic, SimpleNamespace(topic=self.topic, run=asyncio.run))
        return read(connection, self.settings, DecisionDraft("m"), self.said.append, now)

    def begun(self, now: int = NOW) -> Reading:
        found = self.read(now)
        assert isinstance(found, Reading)
        return found


@pytest.fixture
def retraining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Retraining:
    return Retraining(tmp_path, monkeypatch)


def test_the_log_is_read_from_the_begin_of_the_window(retraining: Retraining) -> None:
    found = retraining.begun()
    assert retraining.log.asked == [NOW - 3 * DAY, None]
    assert (found.serving, found.parent, found.seen, len(found.clicks)) == (None, None, None, 40)
    assert (found.resume_point.since, found.resume_point.now) == (NOW - 3 * DAY, NOW)
    assert retraining.said == ["topic 'clicks': 40 clicks"]


def test_the_serving_model_is_fetched(retraining: Retraining) -> None:
    retraining.publish("v1")
    found = retraining.begun()
    assert found.parent is not None
    assert (found.parent.version, found.resume_point.serving) == ("v1", "v1")
    assert retraining.said == ["topic 'clicks': 40 clicks"]


def test_sessions_that_chose_the_parents_epoch_are_no_unseen_ones(retraining: Retraining) -> None:
    path = bundle(retraining.directory / "v1", "v1")
    span = ClickSpan(clicks=9, sessions=3, first=1, last=NOW - 9000, judged_until=NOW - 4000)
    write_bundle(replace(read_bundle(path), trained_on=span), path)
    asyncio.run(publish(path, retraining.topic, retraining.settings))
    assert retraining.begun().seen == NOW - 4000


def test_a_share_for_the_choice_of_the_epoch_is_refused(retraining: Retraining) -> None:
    path = retraining.directory / "retrain.toml"
    path.write_text("validate = 0.1\n")
    retraining.settings = retraining.settings.model_copy(update={"retrain_config": path})
    with pytest.raises(
        SettingsError, match=r"retrain\.toml: validate = 0\.1: .*NEXTCLICK_RETRAIN_HOLDOUT.*leave it out"
    ):
        retraining.read()
    path.write_text("family = 'blend'\nvalidate = 0\n")
    with pytest.raises(SettingsError, match=r"retrain\.toml: validate = 0: a blend fits its weight on the newest"):
        retraining.read()


def test_a_lost_announcement_is_said(retraining: Retraining) -> None:
    retraining.publish("v1")
    retraining.topic.log.append((serving_key(retraining.settings.model_name), None))
    assert retraining.begun().serving is None
    assert retraining.said[0].startswith("warning: the announcement of the serving version of model")


def test_no_second_shadow_is_trained(retraining: Retraining) -> None:
    retraining.publish("v1")
    retraining.publish("v2", shadow=True)
    assert isinstance(retraining.read(), Reading)
    retraining.settings = retraining.settings.model_copy(update={"retrain_release": "shadow"})
    refused = retraining.read()
    assert isinstance(refused, Refused)
    assert refused.reason == "v2 is still scored beside v1"


def test_an_interrupted_one_goes_on_with_the_same_clicks(retraining: Retraining) -> None:
    first = retraining.begun()
    save_resume_point(resume_directory(retraining.settings), replace(first.resume_point, ends={0: 30}))
    retraining.log.asked.clear()
    again = retraining.begun(NOW + 3_600_000)
    assert retraining.log.asked == [NOW - 3 * DAY, {0: 30}]
    assert (again.offsets, again.resume_point.now) == ({0: (0, 30)}, NOW)
    assert "going on with a retraining that was interrupted" in retraining.said


def test_one_whose_clicks_topic_began_anew_begins_anew(retraining: Retraining) -> None:
    directory = resume_directory(retraining.settings)
    save_resume_point(directory, retraining.begun().resume_point)
    retraining.log.logs = {0: "another"}
    later = NOW + 1000
    assert retraining.begun(later).resume_point.now == later
    assert retraining.log.asked[-2:] == [later - 3 * DAY, None]
    deciding = retraining.begun(later).resume_point.settings
    assert load_resume_point(directory, None, deciding, later) is None


def test_a_window_that_no_worker_stores_is_refused_before_the_log_is_read(retraining: Retraining) -> None:
    config = retraining.directory / "retrain.toml"
    config.write_text("family = 'stamp'\nwindow = 51\n")
    retraining.settings = retraining.settings.model_copy(update={"retrain_config": config})
    with pytest.raises(
        BundleError, match=r"^stamp with window = 51 reads .* NEXTCLICK_SESSION_HISTORY=50 .* 51 or more"
    ):
        retraining.read()
    assert retraining.log.asked == []
    config.write_text("family = 'stamp'\nwindow = 50\n")
    assert retraining.begun().config.history == 50
