"""The resume point of a retraining: after a kill it continues with the same clicks from its checkpoint."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import TrainingError
from schemas.settings import Settings

FILE = "resume_point.json"
LONGEST_MS = 86_400_000
"""An older resume point is not used."""


@dataclass(frozen=True)
class ResumePoint:
    """The inputs of a retraining when its training began.

    Attributes:
        since: only clicks from this time on, ms since 1970 UTC.
        now: when the retraining began, by this machine's clock, ms since 1970 UTC.
        ends: partition → the offset to read up to (exclusive).
        serving: network version of the serving model; None if none served.
        settings: the settings that determine the training, by name; JSON values.
        logs: partition → incarnation of the clicks topic that `ends` count in; empty if unknown.
    """

    since: int
    now: int
    ends: Mapping[int, int]
    serving: str | None
    settings: Mapping[str, Any]
    logs: Mapping[int, str] = field(default_factory=dict)


def resume_directory(settings: Settings) -> Path:
    """The directory of a retraining's resume point and checkpoint."""
    return settings.data_dir / "retraining" / settings.model_name


def load_resume_point(
    directory: Path, serving: str | None, settings: Mapping[str, Any], now: int
) -> ResumePoint | None:
    """The resume point of a killed retraining; None if there is none, or it is no longer valid.

    Args:
        directory: of the retraining.
        serving, settings: must equal those of the resume point.
        now: the present time, ms since 1970 UTC; the resume point must be less than `LONGEST_MS` older.
    """
    try:
        kept = json.loads((directory / FILE).read_text())
        by_partition = {name: _by_number(kept.get(name, {})) for name in ("ends", "logs")}
        point = ResumePoint(**{**kept, **by_partition})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    same = (point.serving, point.settings) == (serving, json.loads(json.dumps(settings)))
    return point if same and 0 <= now - point.now < LONGEST_MS else None


def _by_number(kept: Mapping[str, Any]) -> dict[int, Any]:
    return {int(number): value for number, value in kept.items()}


def save_resume_point(directory: Path, point: ResumePoint) -> None:
    """Write a resume point atomically.

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
    """Delete resume point and checkpoint, after the decision was made."""
    shutil.rmtree(directory, ignore_errors=True)
