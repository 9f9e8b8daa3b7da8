"""A blend from its training over refreshes to the next retraining, on a real topic."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from modelregistry.retention import verdicts
from modelregistry.store import BundleStore
from rankers.bundle import read_bundle
from schemas.settings import Settings
from tests.modelregistry.topic import models_state, rollback
from tests.trainer.retraining.shopclicks import DAY, retrain_settings, send, shop_clicks
from trainer.retraining.refresh import refresh
from trainer.retraining.run import retrain

pytestmark = pytest.mark.usefixtures("compiled_kernel")


def test_a_blend_is_refreshed_and_a_retraining_continues_its_network_and_wins(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    settings = retrain_settings(kafka_settings, tmp_path, retrain_margin=-0.1)
    assert settings.retrain_config is not None
    settings.retrain_config.write_text("family = 'blend'\n" + settings.retrain_config.read_text())
    frame = shop_clicks()
    newest = frame["timestamp"].max()
    assert isinstance(newest, int)
    ages = (newest - pl.col("timestamp")) / DAY
    send(settings, frame.filter(ages > 1))
    first = retrain(settings)
    assert (first.outcome, first.kind) == ("published", "full"), first.reason

    send(settings, frame.filter((ages <= 1) & (ages > 0.5)))
    second = refresh(settings)
    assert second.outcome == "refreshed", second.reason
    send(settings, frame.filter(ages <= 0.5))
    third = refresh(settings)
    assert (third.outcome, third.times) == ("refreshed", 2), third.reason
    trained, refreshed = (read_bundle(Path(settings.models_uri) / str(one.candidate)) for one in (first, third))
    assert refreshed.network_digest == trained.network_digest
    assert refreshed.model.weight == trained.model.weight
    own = list(trained.model.network_items)
    assert list(refreshed.items.ids[: len(own)]) == own
    assert len(refreshed.items) > len(own)
    stored = {path.name for path in (Path(settings.models_uri) / refreshed.version).iterdir()}
    assert stored == {"bundle.json", "items.json", "sessions.safetensors", "SHA256"}

    fourth = retrain(settings)
    assert (fourth.outcome, fourth.kind, fourth.serving) == ("published", "warm", refreshed.version), fourth.reason
    state = models_state(settings)
    assert (state.serving and state.serving.version, state.shadow and state.shadow.version) == (
        fourth.candidate, refreshed.version,
    )  # fmt: skip
    assert read_bundle(Path(settings.models_uri) / str(fourth.candidate)).refresh_of is None
    assert rollback(settings).version == refreshed.version
    later = datetime.now(UTC) + timedelta(days=2)
    kept = {
        one.version: one.kept for one in verdicts(models_state(settings), BundleStore(settings.models_uri), 1, later)
    }
    assert kept == {
        first.candidate: f"holds the network of {refreshed.version}",
        second.candidate: "to go back to from the last refresh",
        third.candidate: "serves",
        fourth.candidate: "was rolled back from",
    }
