"""Options that several commands take: types, help, and parsing."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from schemas.errors import ClicksError

ClicksFile = Annotated[Path, typer.Option(help="A .parquet or .csv file of clicks.")]
BundleDirectory = Annotated[Path, typer.Option(help="The bundle's directory.")]
Split = Annotated[str | None, typer.Option(help="Only these splits of the file, comma separated.")]
Cutoffs = Annotated[str, typer.Option(help="The k of Recall@k and MRR@k, comma separated.")]
Ties = Annotated[
    Literal["conservative", "standard", "median"],
    typer.Option(help="Items that score the same as the next one count against it, not at all, or half."),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file, too.")]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda or cuda:N; NEXTCLICK_DEVICE by default.", show_default=False)
]

CUTOFFS = "1,5,10,20"


def read_names(text: str | None) -> list[str]:
    """`train,valid` as a list; an empty list for None."""
    return [name.strip() for name in text.split(",")] if text else []


def read_cutoffs(text: str) -> list[int]:
    """`1,5,20` in ascending order.

    Raises:
        BadParameter: the text is not a list of whole numbers from 1.
    """
    try:
        cutoffs = sorted({int(part) for part in text.split(",")})
    except ValueError:
        cutoffs = []
    if not cutoffs or cutoffs[0] < 1:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers from 1, such as 1,5,20", param_hint="--cutoffs")
    return cutoffs


def read_duration(text: str, option: str) -> timedelta:
    """`7d` as a duration.

    Raises:
        BadParameter: the text is not a duration.
    """
    from schemas.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def read_begin(text: str, option: str, now: int) -> int:
    """`7d`, a time in ISO 8601 (UTC where it has no offset) or 13 digits of milliseconds, as ms since 1970 UTC.

    Args:
        text: as given.
        option: names the option in errors.
        now: the end of a duration, ms since 1970 UTC.

    Raises:
        BadParameter: the text is neither.
    """
    import re
    from datetime import UTC, datetime

    from schemas.durations import milliseconds, parse_duration

    text = text.strip()
    try:
        if re.fullmatch(r"\d{13}", text):
            return int(text)
        if re.match(r"\d{4}-", text):
            moment = datetime.fromisoformat(text)
            return max(round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000), 0)
        return max(now - milliseconds(parse_duration(text)), 0)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, or give a time like 2026-11-28T14:00Z", param_hint=option) from error


def write_json(figures: dict[str, Any], path: Path) -> None:
    """Write figures to the file of --json.

    Raises:
        ClicksError: the file cannot be written.
    """
    import json

    try:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ClicksError(f"--json {path} cannot be written: {error.strerror or error}") from error
