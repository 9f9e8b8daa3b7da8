"""A killed retraining resumes only if nothing that determines the training has changed."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from trainer.config import FitConfig, TrainConfig
from trainer.retraining.resume_point import FILE, ResumePoint, load_resume_point, save_resume_point

NOW = 1_700_000_000_000
DECIDING = {"config": asdict(TrainConfig(FitConfig(seed=3))), "mode": "warm", "window_ms": 86_400_000}
POINT = ResumePoint(NOW - 86_400_000, NOW, {0: 17, 1: 4}, "v1", DECIDING, {0: "log", 1: "log.1"})


def test_the_same_retraining_goes_on(tmp_path: Path) -> None:
    save_resume_point(tmp_path / "new", POINT)
    assert load_resume_point(tmp_path / "new", "v1", DECIDING, NOW + 3_600_000) == POINT


@pytest.mark.parametrize(
    "changed",
    [
        {"serving": "v2"},
        {"serving": None},
        {"settings": {**DECIDING, "config": asdict(TrainConfig(FitConfig(seed=4)))}},
        {"settings": {**DECIDING, "mode": "full"}},
        {"now": NOW + 2 * 86_400_000},
        {"now": NOW - 1},
    ],
)
def test_another_one_begins_anew(tmp_path: Path, changed: dict[str, Any]) -> None:
    save_resume_point(tmp_path, POINT)
    arguments = {"serving": "v1", "settings": DECIDING, "now": NOW} | changed
    assert load_resume_point(tmp_path, **arguments) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"ends": 3}'])
def test_a_damaged_one_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    assert load_resume_point(tmp_path, "v1", DECIDING, NOW) is None
