"""Whether a retraining continues the serving model, and from which clicks on."""

from dataclasses import replace
from pathlib import Path

from rankers.bundle import read_bundle
from schemas.announcement import ClickSpan
from schemas.settings import Settings
from tests.worker.deployment import bundle
from trainer.config import TrainConfig
from trainer.retraining.fitting import warm_start

SPAN = ClickSpan(clicks=9, sessions=3, first=1, last=1000, judged_until=2000)
LIKE_THE_PARENT = TrainConfig(hidden=32)


def test_sessions_that_only_chose_the_parents_epoch_are_new_to_a_warm_start(tmp_path: Path) -> None:
    parent = replace(read_bundle(bundle(tmp_path / "b", "v1")), trained_on=SPAN)
    warm = warm_start(parent, LIKE_THE_PARENT, Settings(_env_file=None, models_uri=str(tmp_path)), print)
    assert warm is not None
    assert warm.seen == 1000


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
