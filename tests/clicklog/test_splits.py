from datetime import timedelta

import polars as pl
import pytest

from clicklog.splits import newest_share, newest_span, with_splits
from schemas.errors import ClicksError, TrainingError

HOUR = 3_600_000


def clicks(rows: list[tuple[str, int, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema={"session_id": pl.String, "item_id": pl.Int64, "timestamp": pl.Int64}, orient="row"
    )


def names(frame: pl.DataFrame) -> list[str]:
    return frame["session_id"].unique().sort().to_list()


FRAME = clicks([("c", 1, 50), ("a", 1, 10), ("b", 2, 20), ("a", 2, 90), ("b", 1, 21), ("c", 2, 51), ("d", 1, 60)])


def test_the_newest_share_is_by_first_click_and_cuts_no_session() -> None:
    older, newer = newest_share(FRAME, 0.5)
    assert names(older) == ["a", "b"], "a goes on after all the others, but began first"
    assert names(newer) == ["c", "d"]
    assert older["timestamp"].to_list() == [10, 20, 90, 21], "rows stay in their order"


def test_without_timestamps_the_row_order_is_time() -> None:
    older, newer = newest_share(FRAME.with_columns(timestamp=pl.lit(None, pl.Int64)), 0.25)
    assert names(older) == ["a", "b", "c"]
    assert names(newer) == ["d"]


def test_the_newest_span_is_counted_from_the_last_click() -> None:
    older, newer = newest_span(FRAME, timedelta(milliseconds=40))  # the last click is at 90, so after 50
    assert (names(older), names(newer)) == (["a", "b", "c"], ["d"])
    older, newer = newest_span(FRAME, timedelta(milliseconds=41))
    assert (names(older), names(newer)) == (["a", "b"], ["c", "d"])


@pytest.mark.parametrize("share", [0.0, 1.0, -1, 0.01, 0.99])
def test_a_share_that_leaves_nothing(share: float) -> None:
    with pytest.raises(ClicksError, match="share"):
        newest_share(FRAME, share)


def test_a_span_without_timestamps_or_without_sessions() -> None:
    with pytest.raises(ClicksError, match="no timestamps, so there is no span of time"):
        newest_span(FRAME.with_columns(timestamp=pl.lit(None, pl.Int64)), timedelta(days=1))
    with pytest.raises(ClicksError, match="2 days leaves no session on one side"):
        newest_span(FRAME, timedelta(days=2))


def test_splits_are_filtered_until_stable_and_the_test_knows_no_other_items() -> None:
    train = [(f"s{n}", item, n * HOUR + item) for n in range(6) for item in (1, 2)]
    rare = [("r", 7, 2 * HOUR), ("r", 1, 2 * HOUR + 1)]  # item 7 is dropped, then r as too short
    test = [("t", item, 10 * HOUR + n) for n, item in enumerate([1, 7, 2])]
    lone = [("u", 1, 10 * HOUR), ("u", 9, 10 * HOUR + 1)]
    frame = with_splits(clicks(train + rare + test + lone), timedelta(hours=1), 0.34, min_support=5)
    by_split = {name: part for (name,), part in frame.partition_by("split", as_dict=True).items()}
    assert names(by_split["train"]) == ["s0", "s1", "s2", "s3"]
    assert names(by_split["valid"]) == ["s4", "s5"]
    assert by_split["test"].rows() == [("t", 1, 10 * HOUR, "test"), ("t", 2, 10 * HOUR + 2, "test")]


def test_nothing_known_in_the_test_part() -> None:
    frame = clicks([(f"s{n}", item, n) for n in range(6) for item in (1, 2)] + [("t", 8, 99), ("t", 9, 99)])
    with pytest.raises(TrainingError, match="none of 2 newer clicks is left"):
        with_splits(frame, timedelta(milliseconds=5))
