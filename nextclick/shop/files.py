"""A clicks file of the shop: Parquet or CSV, by its suffix."""

from pathlib import Path

import numpy as np
import polars as pl

from nextclick.shop.visitors import Clicks
from schemas.errors import ClicksError

_SUFFIXES = (".parquet", ".csv")


def check_path(path: Path) -> None:
    """Refuse early what cannot be written.

    Raises:
        ClicksError: the suffix is neither .parquet nor .csv, the folder does not exist, or the path is a folder.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ClicksError(f"{path}: clicks are written as .parquet or .csv, not as {path.suffix!r}: name the file so")
    if path.is_dir():
        raise ClicksError(f"{path} is a folder: name a file")
    if not path.parent.is_dir():
        raise ClicksError(f"{path}: the folder {path.parent} does not exist: create it first")


def write_clicks(clicks: Clicks, path: Path, *, split_last_day: bool) -> None:
    """Write session_id, item_id, timestamp (int64) and split (text): `test` for the last day's sessions, else `train`.

    Args:
        clicks: in the order in which they are written.
        path: ends in .parquet or .csv.
        split_last_day: without it every click is `train`.

    Raises:
        ClicksError: the path is refused by `check_path`, or by the file system.
    """
    check_path(path)
    split = np.where(clicks.last_day & split_last_day, "test", "train")
    frame = pl.DataFrame(
        {"session_id": clicks.session_id, "item_id": clicks.item_id, "timestamp": clicks.timestamp, "split": split}
    )
    try:
        if path.suffix.lower() == ".csv":
            frame.write_csv(path)
        else:
            frame.write_parquet(path)
    except OSError as error:
        raise ClicksError(f"{path} cannot be written: {error.strerror or error}") from error
