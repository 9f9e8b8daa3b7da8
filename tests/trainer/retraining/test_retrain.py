"""One retraining after another: publish a better candidate, else keep the serving model, and record the reason."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from modelregistry.publishing import publish_bundle
from modelregistry.store import BundleStore
from rankers.bundle import read_bundle
from schemas.errors import BundleError, NextclickError, SettingsError, TrainingError
from schemas.settings import Settings
from tests.modelregistry.topic import decisions, models_state
from tests.trainer.retraining.shopclicks import DAY, retrain_settings, send, shop_clicks
from tests.worker.deployment import bundle
from trainer.retraining.run import retrain
from trainer.retraining.schedule import next_run, run_on_schedule

pytestmark = pytest.mark.usefixtures("compiled_kernel")


@pytest.fixture
def settings(kafka_settings: Settings, tmp_path: Path) -> Settings:
    return retrain_settings(kafka_settings, tmp_path)


def serving(settings: Settings) -> str | None:
    announcement = models_state(settings).serving
    return announcement.version if announcement else None


def test_a_first_model_a_better_one_and_one_that_is_kept(settings: Settings) -> None:
    frame = shop_clicks()
    two_days = frame.filter(pl.col("timestamp") < frame["timestamp"].max() - DAY)  # type: ignore[operator]
    send(settings, two_days)
    first = retrain(settings)
    assert (first.outcome, first.kind, first.serving) == ("published", "full", None)
    assert first.judgement is not None
    assert first.judgement.figures["candidate"].recall > first.judgement.figures["popularity"].recall
    assert set(first.judgement.figures) == {"candidate", "popularity", "vs-knn"}

    kept = retrain(settings.model_copy(update={"retrain_margin": 0.5, "retrain_holdout": 20}))
    assert (kept.outcome, kept.serving) == ("kept", first.candidate)
    assert serving(settings) == first.candidate

    send(settings, frame.filter(pl.col("timestamp") >= frame["timestamp"].max() - DAY))  # type: ignore[operator]
    second = retrain(settings.model_copy(update={"retrain_margin": -0.05}))
    assert (second.outcome, second.kind, second.serving) == ("published", "warm", first.candidate)
    assert serving(settings) == second.candidate
    assert second.judgement is not None
    assert second.judgement.first > first.trained_on.last  # type: ignore[union-attr,operator]

    bundle = read_bundle(Path(settings.models_uri) / second.candidate)  # type: ignore[operator]
    assert bundle.settings["lineage"]["parent"] == first.candidate
    assert bundle.trained_on is not None
    assert sum(end - begin for begin, end in bundle.trained_on.offsets.values()) == len(frame)
    before = read_bundle(Path(settings.models_uri) / first.candidate)  # type: ignore[operator]
    assert set(bundle.items.ids) - set(before.items.ids), "items launched on the new day"
    assert set(before.items.ids) - set(bundle.items.ids) or len(bundle.items) > len(before.items)

    story = decisions(settings)
    assert [decision.outcome for decision in story] == ["published", "kept", "published"]
    assert not (settings.data_dir / "retraining" / settings.model_name).exists()


def test_a_family_that_reads_the_history_is_retrained_in_full_and_then_warm(settings: Settings) -> None:
    assert settings.retrain_config is not None
    settings.retrain_config.write_text("family = 'sasrec'\n" + settings.retrain_config.read_text())
    frame = shop_clicks()
    new = pl.col("timestamp") >= frame["timestamp"].max() - DAY  # type: ignore[operator]
    send(settings, frame.filter(~new))
    first = retrain(settings)
    assert (first.outcome, first.kind) == ("published", "full")
    send(settings, frame.filter(new))
    second = retrain(settings.model_copy(update={"retrain_margin": -0.05}))
    assert (second.outcome, second.kind) == ("published", "warm")
    assert read_bundle(Path(settings.models_uri) / second.candidate).family == "sasrec"  # type: ignore[operator]


def test_a_family_that_counts_is_counted_anew(settings: Settings) -> None:
    assert settings.retrain_config is not None
    settings.retrain_config.write_text("family = 'stan'\nk = 100\n")
    frame = shop_clicks()
    new = pl.col("timestamp") >= frame["timestamp"].max() - DAY  # type: ignore[operator]
    send(settings, frame.filter(~new))
    first = retrain(settings)
    assert (first.outcome, first.kind) == ("published", "full")
    send(settings, frame.filter(new))
    said: list[str] = []
    second = retrain(settings.model_copy(update={"retrain_margin": -0.05}), said.append)
    assert (second.outcome, second.kind, second.serving) == ("published", "full", first.candidate)
    assert any("while they are counted" in line for line in said)
    before, after = (
        read_bundle(Path(settings.models_uri) / version) for version in (first.candidate, second.candidate)
    )  # type: ignore[operator]
    assert after.family == "stan"
    assert after.model.config.k == 100
    assert len(after.model.index.of_session) > len(before.model.index.of_session)


def test_a_blend_is_retrained_in_full_and_then_warm_with_its_weights(settings: Settings) -> None:
    assert settings.retrain_config is not None
    settings.retrain_config.write_text("family = 'blend'\n" + settings.retrain_config.read_text())
    frame = shop_clicks()
    new = pl.col("timestamp") >= frame["timestamp"].max() - DAY  # type: ignore[operator]
    send(settings, frame.filter(~new))
    first = retrain(settings)
    assert (first.outcome, first.kind) == ("published", "full")
    send(settings, frame.filter(new))
    said: list[str] = []
    second = retrain(settings.model_copy(update={"retrain_margin": -0.05}), said.append)
    assert (second.outcome, second.kind) == ("published", "warm")
    assert not any("1 of 2" in line for line in said)
    before, after = (
        read_bundle(Path(settings.models_uri) / version)
        for version in (first.candidate, second.candidate)  # type: ignore[operator]
    )
    assert (after.family, after.model.weight) == ("blend", before.model.weight)
    assert len(after.model.neighbours.index.of_session) > len(before.model.neighbours.index.of_session)
    assert settings.retrain_config.write_text(settings.retrain_config.read_text() + "neighbours = 'vs-knn'\n")
    third = retrain(settings.model_copy(update={"retrain_margin": -0.5, "retrain_holdout": 20}), said.append)
    assert any("has another shape than the settings ask for: training in full" in line for line in said)
    assert third.kind == "full"


def test_a_candidate_is_not_published_over_a_model_that_it_was_not_compared_with(
    settings: Settings, tmp_path: Path
) -> None:
    send(settings, shop_clicks())
    other = bundle(tmp_path / "other", "other")

    def publish_beside(line: str) -> None:
        if line.startswith("candidate"):
            asyncio.run(publish_bundle(other, settings))

    kept = retrain(settings, publish_beside)
    assert (kept.outcome, kept.serving) == ("kept", None)
    assert "other was announced meanwhile" in kept.reason
    assert serving(settings) == "other"


def test_too_little_is_new_to_judge_by(settings: Settings) -> None:
    send(settings, shop_clicks())
    retrain(settings)
    again = retrain(settings.model_copy(update={"retrain_holdout": 20, "retrain_mode": "full"}))
    assert again.outcome == "kept"
    nothing_new = retrain(settings.model_copy(update={"retrain_window": timedelta(days=2), "retrain_holdout": 30}))
    assert nothing_new.outcome == "kept"


@pytest.mark.parametrize(
    ("clicks", "changes", "line"),
    [
        (shop_clicks(500).head(0), {}, "holds no click from .* widen the span"),
        (shop_clicks(500).with_columns(pl.col("timestamp") - 10 * DAY), {}, "newest click .* is 240.* h old"),
        (shop_clicks(500).with_columns(pl.col("timestamp") - 60 * DAY), {}, "holds no click from"),
        (shop_clicks(500).with_columns(pl.col("timestamp") + 10 * DAY), {}, "later than this machine's clock"),
        (shop_clicks(500), {"models_uri": "/proc/nothing/models"}, "registry at .* cannot be written"),
        (shop_clicks(500), {"models_uri": "nowhere://models"}, "cannot be used"),
        (shop_clicks(500), {"archive_uri": "nowhere://archive"}, "NEXTCLICK_ARCHIVE_URI='nowhere://archive'"),
        (shop_clicks(30), {}, "nothing to judge by"),
    ],
    ids=["empty", "old", "before-the-window", "future", "read-only", "scheme", "archive", "few"],
)
def test_bad_input_ends_in_one_line_and_leaves_the_serving_model(
    settings: Settings, clicks: pl.DataFrame, changes: dict[str, object], line: str
) -> None:
    if len(clicks):
        send(settings, clicks)
    with pytest.raises(NextclickError, match=line) as failure:
        retrain(settings.model_copy(update=changes))
    assert "\n" not in str(failure.value)
    story = decisions(settings)
    assert [decision.outcome for decision in story] == ["failed"]
    assert story[0].reason == " ".join(str(failure.value).split())
    assert not (settings.data_dir / "retraining").exists(), "the next run would go on with the same clicks"
    assert serving(settings) is None


def test_a_few_clicks_of_the_future_are_left_out_and_said(settings: Settings) -> None:
    frame = shop_clicks()
    late = frame.tail(5).with_columns(pl.col("timestamp") + 20 * DAY)
    send(settings, pl.concat([frame, late]))
    said: list[str] = []
    assert retrain(settings, said.append).outcome == "published"
    assert any("5 clicks are stamped later than now" in line for line in said)


def test_a_serving_bundle_that_has_vanished(settings: Settings) -> None:
    send(settings, shop_clicks())
    first = retrain(settings)
    assert BundleStore(settings.models_uri).versions() == [first.candidate]
    (Path(settings.models_uri) / str(first.candidate) / "weights.safetensors").unlink()
    with pytest.raises(BundleError, match=f"serving model {first.candidate} cannot be fetched"):
        retrain(settings)
    assert serving(settings) == first.candidate


def test_what_a_retention_has_eaten_is_said_and_recorded(settings: Settings) -> None:
    from tests.clicklog.archive.test_click_log_with_archive import delete_records

    send(settings, shop_clicks())
    for partition in range(settings.partitions):
        delete_records(settings, partition, 200)
    said: list[str] = []
    decision = retrain(settings, said.append)
    assert decision.outcome == "published"
    assert len(decision.missing) == settings.partitions
    assert sum(line.startswith("missing: partition") for line in said) == settings.partitions


async def test_one_trainer_at_a_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelregistry import lease

    monkeypatch.setattr(lease, "WAIT_SECONDS", 4.0)
    async with lease.Lease(settings) as first:
        with pytest.raises(TrainingError, match="another retraining"):
            async with lease.Lease(settings):
                pass
        await first.check()
        other = settings.model_copy(update={"model_name": "other"})
        async with lease.Lease(other):
            pass
    begin = time.monotonic()
    async with lease.Lease(settings) as after:
        await after.check()
    assert time.monotonic() - begin < 10


def test_what_is_no_cron_expression() -> None:
    with pytest.raises(SettingsError, match="--cron 'soon' is no cron expression"):
        run_on_schedule("soon", threading.Event(), print)


def test_when_the_next_run_is_due() -> None:
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert next_run("0 3 * * *", noon) == datetime(2026, 11, 25, 3, tzinfo=UTC)
    assert next_run("*/10 * * * *", noon) == datetime(2026, 11, 24, 12, 10, tzinfo=UTC)
