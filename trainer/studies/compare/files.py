"""A comparison as files: the table as Markdown and JSON, and a plot."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from schemas.errors import TrainingError
from trainer.studies.compare.plot import plot
from trainer.studies.compare.table import Row, markdown


def write_files(rows: Sequence[Row], title: str, folder: Path) -> list[Path]:
    """Write comparison.json, comparison.md and comparison.svg; returns their paths.

    Raises:
        TrainingError: a file cannot be written, or matplotlib is not installed.
    """
    try:
        (folder / "comparison.json").write_text(
            json.dumps({"title": title, "methods": [asdict(row) for row in rows]}, indent=2) + "\n", encoding="utf-8"
        )
        (folder / "comparison.md").write_text(markdown(rows, title), encoding="utf-8")
        plot(rows, title, folder / "comparison.svg")
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written to: {error.strerror or error}") from error
    return [folder / f"comparison.{kind}" for kind in ("md", "json", "svg")]
