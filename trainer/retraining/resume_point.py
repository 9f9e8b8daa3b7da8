"""The resume point of a retraining: one that was killed goes on with the same clicks, from its checkpoint."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from schemas.errors import TrainingError
from schemas.settings import Settings

FILE = "resume_point.json"
LONGEST_MS = 86_400_000
"""An older resume point is not used."""


@dataclass(frozen=True)
class ResumePoint:
    """What a retraining was about when its training began.

    Attributes:
        since: clicks from then on, ms since 1970 UTC.
        now: when the retraining began, by this machine's clock.
        ends: partition → the offset to read up to.
        serving: version that served.
        settings: what decides the training, by name; values that JSON can hold.
    """

    since: int
    now: int
    ends: Mapping[int, int]
    serving: str | None
    settings: Mapping[str, Any]


def resume_directory(settings: Settings) -> Path:
    """Where a retraining keeps its resume point and the checkpoint of its training."""
    return settings.data_dir / "retraining" / settings.model_name


def load_resume_point(
    directory: Path, serving: str | None, settings: Mapping[str, Any], now: int
) -> ResumePoint | None:
    """The resume point of a retraining that was killed; None where there is none, or it no longer holds.

    Args:
        directory: of the retraining.
        serving, settings: must be the same as then.
        now: the resume point is at most `LONGEST_MS` older, ms since 1970 UTC.
    """
    try:
        kept = json.loads((directory / FILE).read_text())
        point = ResumePoint(**{**kept, "ends": {int(number): end for number, end in kept["ends"].items()}})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    same = (point.serving, point.settings) == (serving, json.loads(json.dumps(settings)))
    return point if same and 0 <= now - point.now < LONGEST_MS else None


def save_resume_point(directory: Path, point: ResumePoint) -> None:
    """Keep a resume point, whole or not at all.

    Raises:
        TrainingError: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        scratch = directory / f".{FILE}"
        scratch.write_text(json.dumps(asdict(point)))
        scratch.replace(directory / FILE)
    except OSError as error:
        raise TrainingError(f"cannot write to {directory} (NEXTCLICK_DATA_DIR): {error.strerror}") from error


def forget_resume_point(directory: Path) -> None:
    """Delete resume point and checkpoint: the retraining was decided."""
    shutil.rmtree(directory, ignore_errors=True)
