"""Refreshes over a real topic: what they publish, record and refuse."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from clicklog.clicks import Clicks
from messaging.loop_thread import LoopThread
from modelregistry.lease import Lease
from modelregistry.publishing import publish_bundle
from modelregistry.store import BundleStore
from rankers.bundle import Bundle, read_bundle, write_bundle
from schemas.errors import BundleError, NextclickError
from schemas.settings import Settings
from tests.command_line import CommandLine
from tests.modelregistry.topic import decisions, models_state
from tests.trainer.retraining.shopclicks import DAY, retrain_settings, send, shop_clicks
from tests.trainer.retraining.test_end_to_end import start_schedule
from tests.worker.deployment import bundle
from trainer.config import TrainConfig
from trainer.presets import FAMILY_DEFAULTS
from trainer.retraining.refresh import refresh
from trainer.retraining.run import retrain
from trainer.train import train

pytestmark = pytest.mark.usefixtures("compiled_kernel")

STAN = replace(FAMILY_DEFAULTS["stan"], k=100)
HOUR = DAY // 24


def before(hours: int) -> pl.Expr:
    """Clicks until so long before the newest one."""
    return pl.col("timestamp") < shop_clicks()["timestamp"].max() - hours * HOUR  # type: ignore[operator]


def counted(directory: Path, frame: pl.DataFrame, config: TrainConfig = STAN) -> Bundle:
    """A model of these clicks, written to the directory."""
    write_bundle(train(Clicks(frame.sort("session_id", maintain_order=True), "c"), config).bundle, directory)
    return read_bundle(directory)


@pytest.fixture
def settings(kafka_settings: Settings, tmp_path: Path) -> Settings:
    return retrain_settings(kafka_settings, tmp_path)


@pytest.fixture
def stan(settings: Settings, tmp_path: Path) -> Bundle:
    """A serving model of all clicks but the last day's; the topic has all but the last twelve hours'."""
    made = counted(tmp_path / "stan", shop_clicks().filter(before(24)))
    asyncio.run(publish_bundle(tmp_path / "stan", settings))
    send(settings, shop_clicks().filter(before(12)))
    return made


def test_new_items_are_in_a_refreshed_model_and_its_network_stays(settings: Settings, stan: Bundle) -> None:
    first = refresh(settings)
    assert (first.outcome, first.serving, first.by) == ("refreshed", stan.version, "refresh")
    serving = models_state(settings).serving
    assert serving is not None
    assert (serving.version, serving.refresh_of, serving.network_version) == (
        first.candidate,
        stan.version,
        stan.version,
    )
    made = read_bundle(Path(settings.models_uri) / serving.version)
    assert (made.network_digest, made.refresh_of, made.model.config.k) == (stan.network_digest, stan.version, 100)
    assert set(made.items.ids) - set(stan.items.ids), "items launched in between"
    assert made.trained_on is not None
    assert stan.trained_on is not None
    assert made.trained_on.last > stan.trained_on.last  # type: ignore[operator]
    assert made.trained_on.network_until == stan.trained_on.last
    assert first.judgement is not None
    assert first.judgement.figures["candidate"].recall >= first.judgement.figures["serving"].recall - 0.02

    nothing = refresh(settings)
    assert (nothing.outcome, nothing.candidate) == ("kept", None)
    assert nothing.reason.startswith("nothing new: ")
    assert len(decisions(settings)) == 2
    send(settings, shop_clicks().filter(~before(12)))
    second = refresh(settings)
    assert (second.outcome, second.times, second.serving) == ("refreshed", 2, first.candidate)
    assert second.began_at == first.began_at
    again = models_state(settings).serving
    assert again is not None
    assert (again.version, again.network_version) == (second.candidate, stan.version)
    story = decisions(settings)
    assert [decision.outcome for decision in story] == ["published", "refreshed"]
    assert f"(the last of 2 since {first.began_at:%Y-%m-%d %H:%M})" in story[1].reason


def test_a_retraining_judges_a_refreshed_model_on_clicks_that_neither_has_seen(
    settings: Settings, stan: Bundle
) -> None:
    assert refresh(settings).outcome == "refreshed"
    assert settings.retrain_config is not None
    settings.retrain_config.write_text("family = 'stan'\nk = 100\n")
    said: list[str] = []
    decision = retrain(settings.model_copy(update={"retrain_margin": -0.02}), said.append)
    assert decision.judgement is not None, decision.reason
    assert decision.judgement.over["serving"].value == 0, "the same method, counted on the same clicks"
    assert decision.judgement.first > stan.trained_on.last  # type: ignore[union-attr,operator]
    assert any("is judged with neighbours of the clicks" in line for line in said)
    state = models_state(settings)
    assert (state.serving and state.serving.network_version) == decision.candidate, (
        "it wins over the refreshes before it"
    )
    assert (state.shadow and state.shadow.network_version) == stan.version


def test_a_refresh_does_not_wait_for_a_retraining(settings: Settings, stan: Bundle) -> None:
    with LoopThread("a retraining") as loop:
        training = loop.enter(Lease(settings))
        assert refresh(settings).serving == stan.version
        loop.run(training.check())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"models_uri": "/proc/nothing/models"}, "registry at .* cannot be written"),
        ({"retrain_window": "1ms"}, "holds no click from .* widen the span"),
        ({"retrain_max_age": "1ms"}, "the newest click of .* is .* old"),
        ({"archive_uri": "nowhere://archive"}, "NEXTCLICK_ARCHIVE_URI='nowhere://archive'"),
    ],
)
def test_what_cannot_be_refreshed_ends_in_one_line_and_nothing_changes(
    changes: dict[str, str], line: str, settings: Settings, stan: Bundle
) -> None:
    bad = Settings.model_validate({**settings.model_dump(), **changes})
    for _ in range(2):
        with pytest.raises(NextclickError, match=line) as failure:
            refresh(bad)
        assert "\n" not in str(failure.value)
    assert models_state(settings).serving.version == stan.version  # type: ignore[union-attr]
    assert BundleStore(settings.models_uri).versions() == [stan.version]
    failed = [decision for decision in decisions(settings) if decision.outcome == "failed"]
    if "models_uri" not in changes:
        assert [decision.times for decision in failed] == [2]
        assert str(failed[0].reason).startswith(str(failure.value))


def test_a_log_that_is_older_than_the_model_is_nothing_new(settings: Settings, tmp_path: Path) -> None:
    made = counted(tmp_path / "stan", shop_clicks())
    asyncio.run(publish_bundle(tmp_path / "stan", settings))
    send(settings, shop_clicks().filter(before(12)))
    kept = refresh(settings)
    assert (kept.outcome, kept.reason.startswith("nothing new: ")) == ("kept", True)
    assert BundleStore(settings.models_uri).versions() == [made.version]
    assert [decision.outcome for decision in decisions(settings)] == ["published"]


def test_models_without_neighbours_and_no_model_at_all_are_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"there is nothing to refresh: no model .* was announced yet"):
        refresh(settings)
    asyncio.run(publish_bundle(bundle(tmp_path / "v1", "v1"), settings))
    with pytest.raises(BundleError, match=r"family gru4rec has no neighbours to refresh \(only .*vs-knn, stan"):
        refresh(settings)
    assert models_state(settings).serving.version == "v1"  # type: ignore[union-attr]


def test_a_refresh_by_the_command_line(settings: Settings, stan: Bundle, command_line: CommandLine) -> None:
    code, output, errors = command_line.run("retrain", "--refresh", settings=settings)
    assert (code, output.startswith("refreshed: the network of ")) == (0, True), errors
    assert "Recall@20" in errors
    code, output, _ = command_line.run("retrain", "--refresh", settings=settings)
    assert (code, output.startswith("kept: nothing new: ")) == (3, True)
    assert command_line.run("retrain", "--refresh", "--kept-is-done", settings=settings)[0] == 0
    story = command_line.run("models", "story", settings=settings)[1].splitlines()
    assert [line.split()[2] for line in story] == ["published", "refreshed"]
    code, output, errors = command_line.run("models", "rollback", settings=settings)
    assert code == 1
    assert f"{stan.version} is the network of all versions announced so far; name one by --to" in errors


@pytest.mark.slow
def test_a_schedule_refreshes(settings: Settings, stan: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "schedule.log"
    schedule = start_schedule(settings, log, "--refresh")
    try:
        deadline = time.monotonic() + 180
        while "refresh ended: kept the serving model" not in log.read_text():  # the second finds nothing new
            assert schedule.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
    finally:
        schedule.terminate()
        schedule.wait(60)
    assert "refresh ended: refreshed" in log.read_text()
    serving = models_state(settings).serving
    assert serving is not None
    assert serving.refresh_of == stan.version
