"""Retention: which versions are deleted and which are kept, locally and on S3."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import s3fs
import torch

from clicklog.archive.compaction import compact
from clicklog.archive.files import Archive
from clicklog.log import open_log
from modelregistry.optimiser_state import get_optimiser_state, put_optimiser_state
from modelregistry.publishing import publish_bundle
from modelregistry.retention import verdicts
from modelregistry.store import BundleStore
from schemas.errors import BundleError
from schemas.settings import Settings
from tests.clicklog.archive.test_exactly_once import archive_now
from tests.clicklog.archive.topic import produce, rows, some_clicks
from tests.modelregistry.topic import models_state, promote, rollback
from tests.trainer.retraining.shopclicks import retrain_settings, send, shop_clicks
from tests.worker.deployment import bundle
from trainer.retraining.run import retrain

pytestmark = pytest.mark.usefixtures("compiled_kernel")

TOMORROW = datetime.now(UTC) + timedelta(days=2)


def publish(settings: Settings, directory: Path, *versions: str) -> None:
    for version in versions:
        asyncio.run(publish_bundle(bundle(directory / "bundles" / version, version), settings))


def judged(settings: Settings, now: datetime = TOMORROW) -> dict[str, str | None]:
    found = verdicts(models_state(settings), store(settings), settings.models_kept, now)
    return {verdict.version: verdict.kept for verdict in found}


def store(settings: Settings) -> BundleStore:
    return BundleStore(settings.models_uri)


@pytest.fixture(params=["local", "s3"])
def settings(request: pytest.FixtureRequest, kafka_settings: Settings, tmp_path: Path) -> Settings:
    root = request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path)
    changes: dict[str, Any] = {"models_uri": f"{root}/models", "models_kept": 2, "archive_uri": f"{root}/archive"}
    return kafka_settings.model_copy(update=changes)


def test_nothing_goes_that_serves_or_is_needed_to_roll_back(settings: Settings, tmp_path: Path) -> None:
    publish(settings, tmp_path, "v1", "v2", "v3", "v4", "v5")
    promote("v1", settings)  # an old version serves again
    put_optimiser_state(store(settings), "v2", {"rows": torch.ones(2)})
    assert judged(settings) == {
        "v1": "serves", "v5": "to roll back to", "v4": "to roll back to", "v3": None, "v2": None
    }  # fmt: skip
    assert judged(settings, datetime.now(UTC)) == {
        **judged(settings), "v3": "younger than a day", "v2": "younger than a day"
    }  # fmt: skip
    for version, kept in judged(settings).items():
        if kept is None:
            store(settings).delete(version)
    assert store(settings).versions() == ["v1", "v4", "v5"]
    assert rollback(settings).version == "v5"


def test_the_optimisers_state_stays_beside_its_bundle(settings: Settings) -> None:
    store(settings).check_writable()
    assert get_optimiser_state(store(settings), "v1") is None
    put_optimiser_state(store(settings), "v1", {"rows": torch.arange(3)})
    kept = get_optimiser_state(store(settings), "v1")
    assert kept is not None
    assert kept["rows"].tolist() == [0, 1, 2]


def test_what_is_no_bundle_is_left_alone(kafka_settings: Settings, tmp_path: Path) -> None:
    publish(kafka_settings, tmp_path, "v1", "v2")
    history = models_state(kafka_settings).history
    strange = bundle(Path(kafka_settings.models_uri) / "mine", "mine")
    (strange / "notes.txt").write_text("keep")
    assert "notes.txt" in str(judged(kafka_settings)["mine"])
    assert history[-1].version == "v2"


def test_an_archive_on_s3(s3: str, kafka_settings: Settings) -> None:
    settings = kafka_settings.model_copy(update={"archive_uri": f"{s3}/archive"})
    clicks = some_clicks(600)
    for begin in (0, 200):
        produce(settings, clicks[begin : begin + 200])
        archive_now(settings)
    archive = Archive(settings.archive_uri, settings.clicks_topic)
    assert len(archive.files()) == 2 * settings.partitions
    compact(archive, range(settings.partitions), "9999-12-31", "1970-01-01")
    assert len(archive.files()) == settings.partitions
    produce(settings, clicks[400:])
    with open_log(settings) as log:
        assert rows(log.frame()) == clicks


def test_retraining_with_everything_on_s3(s3: str, kafka_settings: Settings, tmp_path: Path) -> None:
    settings = retrain_settings(kafka_settings, tmp_path, models_uri=f"{s3}/models", archive_uri=f"{s3}/archive")
    send(settings, shop_clicks())
    archive_now(settings)
    decision = retrain(settings)
    assert decision.outcome == "published"
    assert store(settings).versions() == [decision.candidate]
    assert get_optimiser_state(store(settings), str(decision.candidate)) is not None


def test_a_misspelt_bucket_is_an_error_and_not_made(s3: str, kafka_settings: Settings, tmp_path: Path) -> None:
    settings = kafka_settings.model_copy(update={"models_uri": f"{s3}-other-{'x' * 3}/models"})
    with pytest.raises(BundleError, match="cannot be written"):
        store(settings).check_writable()
    with pytest.raises(BundleError, match="cannot put the bundle at"):
        publish(settings, tmp_path, "v1")
    with pytest.raises(BundleError, match="cannot write to"):
        put_optimiser_state(store(settings), "v1", {})
    assert not s3fs.S3FileSystem().exists(settings.models_uri.removesuffix("/models"))
