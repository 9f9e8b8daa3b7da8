"""The shop's clicks as tables, with the columns of a clicks file."""

import numpy as np
import polars as pl

from nextclick.shop.visitors import Clicks


def click_table(clicks: Clicks) -> pl.DataFrame:
    """Columns session_id, item_id and timestamp (int64), rows as in `clicks`."""
    return pl.DataFrame({"session_id": clicks.session_id, "item_id": clicks.item_id, "timestamp": clicks.timestamp})


def with_split(clicks: Clicks, *, split_last_day: bool) -> pl.DataFrame:
    """`click_table` with a column split (text): `test` for the last day's sessions, else `train`.

    Args:
        clicks: one per row, in this order.
        split_last_day: if False, every click is `train`.
    """
    split = np.where(clicks.last_day & split_last_day, "test", "train")
    return click_table(clicks).with_columns(pl.Series("split", split))
