"""Whether a retraining continues the serving model, and from which clicks on."""

from dataclasses import replace
from pathlib import Path

import torch

from modelregistry.optimiser_state import put_optimiser_state
from modelregistry.store import BundleStore
from rankers.bundle import read_bundle
from schemas.announcement import ClickSpan
from schemas.settings import Settings
from tests.worker.deployment import bundle
from trainer.config import FitConfig, TrainConfig
from trainer.retraining.fitting import warm_start

SPAN = ClickSpan(clicks=9, sessions=3, first=1, last=1000, judged_until=2000)
LIKE_THE_PARENT = TrainConfig(hidden=32)


def test_sessions_that_only_chose_the_parents_epoch_are_new_to_a_warm_start(tmp_path: Path) -> None:
    parent = replace(read_bundle(bundle(tmp_path / "b", "v1")), trained_on=SPAN)
    warm = warm_start(parent, LIKE_THE_PARENT, Settings(_env_file=None, models_uri=str(tmp_path)), print)
    assert warm is not None
    assert warm.seen == 1000


def test_a_warm_start_goes_on_from_the_training_and_not_from_the_last_refresh(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "models"))
    put_optimiser_state(store, "v1", {"rows": torch.ones(2)})
    span = SPAN.model_copy(update={"last": 5000, "network_until": 1000})
    read = read_bundle(bundle(tmp_path / "b", "v2"))
    refreshed = replace(read, trained_on=span, refresh_of="v1")
    settings = Settings(_env_file=None, models_uri=str(tmp_path / "models"))
    warm = warm_start(refreshed, LIKE_THE_PARENT, settings, print)
    assert warm is not None
    assert warm.seen == 1000
    assert warm.memory is not None, "the optimiser's state is beside the version that was trained"
    assert warm.fit_config(FitConfig()) == replace(warm, parent=replace(read, version="v1")).fit_config(FitConfig())


def test_another_family_is_trained_in_full_and_named(tmp_path: Path) -> None:
    parent = read_bundle(bundle(tmp_path / "b", "v1"))
    said: list[str] = []
    assert warm_start(parent, TrainConfig(family="narm"), Settings(_env_file=None), said.append) is None
    assert said == [
        "v1 is of the family gru4rec and this retraining trains narm (family in the file of NEXTCLICK_RETRAIN_CONFIG): "
        "training in full"
    ]
    said.clear()
    assert warm_start(parent, TrainConfig(hidden=33), Settings(_env_file=None), said.append) is None
    assert said == ["v1 has another shape than the settings ask for: training in full"]
