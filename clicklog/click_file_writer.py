"""Clicks to a Parquet or CSV file, by its suffix."""

from pathlib import Path

import polars as pl

from schemas.errors import ClicksError

SUFFIXES = (".parquet", ".csv")


def check_out(out: Path, source: Path | None = None) -> None:
    """Refuse early what cannot be written.

    Args:
        out: the file to write.
        source: the file that its clicks are read from.

    Raises:
        ClicksError: the suffix is neither .parquet nor .csv, the folder does not exist, or the path is a folder or
            the source itself, whose other columns and rows would be lost.
    """
    if source is not None and out.exists() and out.samefile(source):
        raise ClicksError(f"--out {out} is the file that is read, which would be replaced: name another one")
    if out.suffix.lower() not in SUFFIXES:
        raise ClicksError(f"--out {out}: clicks are written as .parquet or .csv: name the file so")
    if out.is_dir():
        raise ClicksError(f"--out {out}: give a new file in a folder that exists ({out} is a folder)")
    if not out.parent.is_dir():
        raise ClicksError(f"--out {out}: give a new file in a folder that exists ({out.parent} does not exist)")


def is_csv(path: Path) -> bool:
    """Whether the file is written as CSV, and not as Parquet."""
    return path.suffix.lower() == ".csv"


def write_click_file(frame: pl.DataFrame, out: Path) -> None:
    """Write all columns of a table of clicks, its rows in their order.

    Raises:
        ClicksError: `check_out` refuses the path, or it cannot be written.
    """
    check_out(out)
    try:
        if is_csv(out):
            frame.write_csv(out)
        else:
            frame.write_parquet(out)
    except OSError as error:
        raise ClicksError(f"--out {out} cannot be written: {error.strerror or error}") from error
