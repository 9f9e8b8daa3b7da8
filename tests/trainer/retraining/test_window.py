"""The clicks of the window: those of the future are left out, and a log whose newest clicks are missing is refused."""

import polars as pl
import pytest

from schemas.errors import ClicksError, TrainingError
from schemas.settings import Settings
from trainer.retraining.window import usable_clicks

HOUR = 3_600_000
NOW = 1_790_000_000_000
SETTINGS = Settings(_env_file=None, clock_tolerance="5m", retrain_max_age="2d", session_gap="30m")


def usable(*times: int, said: list[str] | None = None) -> pl.DataFrame:
    """The usable ones of these clicks of one session at these times."""
    frame = pl.DataFrame({"session_id": ["s"] * len(times), "item_id": range(len(times)), "timestamp": times})
    return usable_clicks(frame, "topic 'clicks'", NOW - 100 * HOUR, NOW, SETTINGS, (said or []).append)


def test_clicks_are_cut_into_sessions() -> None:
    clicks = usable(NOW - 3 * HOUR, NOW - 3 * HOUR + 60_000, NOW - HOUR)
    assert clicks["session_id"].n_unique() == 2
    assert clicks["item_id"].to_list() == [0, 1, 2]


def test_a_few_clicks_ahead_of_the_clock_are_left_out_and_said() -> None:
    said = ["before"]
    clicks = usable(NOW - HOUR, NOW + 300_000, NOW + 300_001, NOW + 9 * HOUR, said=said)
    assert clicks["item_id"].to_list() == [0, 1]
    assert said[1:] == [
        "2 clicks are stamped later than now (NEXTCLICK_CLOCK_TOLERANCE): left out",
        "topic 'clicks': 2 clicks",
    ]


def test_a_log_of_the_future_is_refused_with_its_distance() -> None:
    with pytest.raises(ClicksError, match=r"all of 2 clicks are stamped later than this machine's clock, by 1\.5 h at"):
        usable(NOW + HOUR * 3 // 2, NOW + 9 * HOUR)


def test_a_log_without_its_newest_clicks_is_refused_with_its_age() -> None:
    assert len(usable(NOW - 48 * HOUR)) == 1
    with pytest.raises(ClicksError, match=r"the newest click of topic 'clicks' is 60\.5 h old, allowed are 48\.0 h"):
        usable(NOW - 70 * HOUR, NOW - 60 * HOUR - HOUR // 2)


def test_an_empty_log_is_refused() -> None:
    with pytest.raises(TrainingError, match="NEXTCLICK_RETRAIN_WINDOW"):
        usable()
