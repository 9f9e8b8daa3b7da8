"""Finished runs of a comparison, one line of JSON each. Each is saved at once: a stopped comparison can resume."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from schemas.errors import ClicksError, TrainingError
from trainer.evaluation.full_ranking import Evaluation
from trainer.studies.compare.methods import Outcome


def run_key(data: Mapping[str, Any], settings: Mapping[str, Any], seed: int) -> str:
    """The key of a run: a digest of the data, the settings and the seed, but not of the user's name for the method."""
    text = json.dumps({"data": data, "settings": settings, "seed": seed}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def file_digest(path: Path) -> str:
    """SHA-256 of a clicks file.

    Raises:
        ClicksError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ClicksError(f"{path} cannot be read: {error.strerror or error}") from error


class Results:
    """The finished runs in a file. An incomplete last line, left by a crash, is dropped, and its run is made again.

    Args:
        path: the file, created by the first run; its folder must exist.

    Raises:
        TrainingError: a line of the file is not a finished run.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, Outcome] = {}
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        self._torn = lines[-1] != b""
        for number, line in enumerate(lines[:-1], start=1):
            try:
                entry = json.loads(line)
                self._outcomes[entry["key"]] = _read(entry["outcome"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise TrainingError(
                    f"line {number} of {path} is no finished run: remove the line, or name another folder by --out"
                ) from error

    def find(self, key: str) -> Outcome | None:
        """The outcome of the run, or None if it has not finished yet."""
        return self._outcomes.get(key)

    def add(self, key: str, name: str, settings: Mapping[str, Any], seed: int, outcome: Outcome) -> None:
        """Save a finished run; it is on disk when this returns.

        Raises:
            TrainingError: the file cannot be written.
        """
        entry = {"key": key, "name": name, "seed": seed, "settings": dict(settings), "outcome": asdict(outcome)}
        line = json.dumps(entry) + "\n"
        try:
            if self._torn:
                whole = self._path.read_bytes()
                self._path.write_bytes(whole[: whole.rfind(b"\n") + 1])
                self._torn = False
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TrainingError(f"{self._path} cannot be written: {error.strerror or error}") from error
        self._outcomes[key] = outcome


def _read(entry: Mapping[str, Any]) -> Outcome:
    evaluation = entry["evaluation"]
    recall, mrr = ({int(k): float(v) for k, v in evaluation[name].items()} for name in ("recall", "mrr"))
    return Outcome(
        Evaluation(int(evaluation["events"]), recall, mrr),
        float(entry["train_seconds"]),
        int(entry["trained_events"]),
        float(entry["rank_seconds"]),
    )
