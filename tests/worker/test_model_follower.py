"""What a worker checks of an announced bundle before it serves it; test_faults.py tests the models topic."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from clicklog.items import ItemIndex
from rankers.bundle import Bundle, write_bundle
from rankers.families import FAMILIES
from schemas.announcement import ModelAnnouncement
from schemas.errors import BundleError
from schemas.settings import Settings
from tests.rankers.recent_items import RecentItems, RecentItemsFamily
from worker.model_follower import ModelFollower


@pytest.mark.parametrize("history", [4, 5])
def test_a_bundle_that_needs_more_history_than_is_kept_is_refused(
    history: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, RecentItemsFamily.name, RecentItemsFamily())
    items = ItemIndex(list(range(30)), np.ones(30, dtype=np.int64))
    model = Bundle("v1", RecentItems.random(30, history), items, family=RecentItemsFamily.name)
    sha256 = write_bundle(model, tmp_path / "models" / "v1")
    settings = Settings(
        _env_file=None, data_dir=tmp_path / "data", models_uri=str(tmp_path / "models"), session_history=4
    )
    follower = ModelFollower(settings, torch.device("cpu"), lambda _model: None, lambda _model: None)
    announcement = ModelAnnouncement(
        name="gru4rec",
        version="v1",
        uri=str(tmp_path / "models" / "v1"),
        sha256=sha256,
        metrics={},
        announced_at=datetime.now(UTC),
    )
    if history <= 4:
        assert follower._load_now(announcement).version == "v1"
    else:
        with pytest.raises(BundleError, match=r"v1 reads the last 5 items .* NEXTCLICK_SESSION_HISTORY=4 keeps fewer"):
            follower._load_now(announcement)
