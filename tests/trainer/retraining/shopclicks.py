"""Clicks of the synthetic shop that end now."""

import asyncio
import time
from functools import cache
from pathlib import Path

import polars as pl

from clicklog.topic_writer import send_clicks
from nextclick.shop import ShopConfig, open_shop, visit
from schemas.settings import Settings

DAY = 86_400_000
SHOP = ShopConfig(items=300)


@cache
def shop_clicks(sessions: int = 6000, days: int = 3, seed: int = 0) -> pl.DataFrame:
    """session_id, item_id, timestamp; the last click was a minute ago, in order of time."""
    clicks = visit(open_shop(SHOP, days, seed), sessions, seed)
    frame = pl.DataFrame({"session_id": clicks.session_id, "item_id": clicks.item_id, "timestamp": clicks.timestamp})
    last = frame["timestamp"].max()
    assert isinstance(last, int)
    return frame.with_columns(pl.col("timestamp") + (time.time_ns() // 1_000_000 - 60_000 - last))


def send(settings: Settings, frame: pl.DataFrame) -> None:
    asyncio.run(send_clicks(settings, frame))


def retrain_settings(settings: Settings, directory: Path, **changes: object) -> Settings:
    """A small configuration that trains quickly."""
    config = directory / "retrain.toml"
    config.write_text(
        "hidden = 32\nepochs = 4\nbatch-size = 32\nsamples = 128\nlearning-rate = 0.1\ndropout-hidden = 0.1\n"
    )
    return settings.model_copy(
        update={
            "archive_uri": str(directory / "archive"),
            "retrain_config": config,
            "retrain_holdout": 500,
            "device": "cpu",
            **changes,
        }
    )
