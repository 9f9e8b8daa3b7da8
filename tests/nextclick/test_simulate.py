"""The synthetic shop: the properties of its clicks, and that the claimed optimum is one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from nextclick.shop import (
    Catalogue,
    Clicks,
    Ranking,
    ShopConfig,
    best_ranking,
    last_click_ranking,
    open_shop,
    visit,
)
from nextclick.shop.visitors import DAY
from tests.command_line import Command

CONFIG = ShopConfig()
SMALL = ShopConfig(items=40, attributes=2, values=5, launched=0.05, retired=0.05, stray=0.1, change=0.15)


@pytest.fixture(scope="module")
def shop() -> Catalogue:
    return open_shop(CONFIG, days=3, seed=7)


@pytest.fixture(scope="module")
def clicks(shop: Catalogue) -> Clicks:
    return visit(shop, sessions=60_000, seed=7)


# The clicks


def test_clicks_come_in_order_of_time_and_sessions_interleave(clicks: Clicks) -> None:
    assert (np.diff(clicks.timestamp) >= 0).all()
    switches = (np.diff(clicks.session_id) != 0).mean()
    assert switches > 0.8, "with many visitors at once, neighbouring clicks are of different sessions"


def test_sessions_have_realistic_lengths_and_gaps(clicks: Clicks) -> None:
    length = np.bincount(clicks.session_id)[1:]
    assert len(length) == 60_000
    assert length.min() == CONFIG.shortest
    assert length.mean() == pytest.approx(CONFIG.mean_length, rel=0.03)
    for more_than in (2, 5, 10):
        assert (length > more_than).mean() == pytest.approx(CONFIG.survival[more_than], abs=0.01)
    gap = np.diff(clicks.timestamp[_by_session(clicks)])[~_session_ends(clicks)]
    assert gap.min() >= 1_000
    assert gap.max() < 30 * 60_000
    assert np.median(gap) == pytest.approx(CONFIG.gap_seconds * 1000, rel=0.05)


def test_no_item_is_clicked_twice_running(clicks: Clicks) -> None:
    item = clicks.item_id[_by_session(clicks)]
    assert not ((np.diff(item) == 0) & ~_session_ends(clicks)).any()


def test_days_hold_equally_many_sessions_and_have_a_rhythm(clicks: Clicks) -> None:
    first = clicks.timestamp[np.unique(clicks.session_id, return_index=True)[1]]
    day, time_of_day = np.divmod(first - CONFIG.start, DAY)
    assert np.bincount(day).tolist() == [20_000] * 3
    by_hour = np.bincount(time_of_day * 24 // DAY, minlength=24)
    assert by_hour[16:18].mean() > 4 * by_hour[4:6].mean()
    assert (clicks.last_day == (day == 2)[clicks.session_id - 1]).all()


def test_items_are_clicked_only_between_launch_and_retirement(shop: Catalogue, clicks: Clicks) -> None:
    item = clicks.item_id - 1
    day = np.minimum((clicks.timestamp - CONFIG.start) // DAY, shop.days - 1)
    assert (shop.launch_day[item] <= day).all()
    assert (day < shop.retirement_day[item]).all()
    for new_day in (1, 2):
        assert (shop.launch_day == new_day).sum() == round(CONFIG.launched * CONFIG.items)
        assert (shop.retirement_day == new_day).sum() == round(CONFIG.retired * CONFIG.items)
        launched = np.flatnonzero(shop.launch_day == new_day)
        assert np.isin(launched, item[day == new_day]).all(), "an item launched at midnight sells that day"


def test_popularity_follows_zipf(shop: Catalogue, clicks: Clicks) -> None:
    always = np.flatnonzero((shop.launch_day == 0) & (shop.retirement_day == shop.days))
    count = np.bincount(clicks.item_id - 1, minlength=len(shop.popularity))[always]
    count = -np.sort(-count)
    rank = np.arange(1, len(count) + 1)
    middle = slice(10, len(count) * 3 // 4)
    slope = np.polyfit(np.log(rank[middle]), np.log(count[middle]), 1)[0]
    assert slope == pytest.approx(-CONFIG.zipf, abs=0.08)


def test_the_seed_decides(shop: Catalogue) -> None:
    one, again, other = visit(shop, 500, 1), visit(shop, 500, 1), visit(shop, 500, 2)
    assert (one.item_id == again.item_id).all()
    assert (one.timestamp == again.timestamp).all()
    assert one.item_id.tolist() != other.item_id.tolist()
    assert open_shop(CONFIG, 3, 8).popularity.tolist() != shop.popularity.tolist()


@pytest.mark.parametrize("days", [1, 4])
def test_a_visitor_whose_intention_has_run_out_of_items_goes_astray(days: int) -> None:
    tiny = ShopConfig(items=3, attributes=1, values=3, launched=0, retired=0.34, stray=0)
    clicks = visit(open_shop(tiny, days, 0), 200, 0)
    assert not ((np.diff(clicks.item_id[_by_session(clicks)]) == 0) & ~_session_ends(clicks)).any()


@pytest.mark.parametrize(
    "wrong", [{"items": 1}, {"values": 2_000}, {"stray": 1.5}, {"retired": 0.5}, {"mean_length": 2.0}, {"longest": 3}]
)
def test_a_shop_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShopConfig(**wrong)  # type: ignore[arg-type]


# The optimum


def test_the_intention_matters_and_the_optimum_bounds_simple_predictors(shop: Catalogue, clicks: Clicks) -> None:
    best, last_click = best_ranking(shop, clicks, 10_000), last_click_ranking(shop, clicks, 10_000)
    popularity = np.bincount(clicks.item_id[~clicks.last_day] - 1, minlength=len(shop.popularity)).astype(np.float64)
    following = np.zeros((len(popularity), len(popularity)))
    np.add.at(following, _pairs(clicks, ~clicks.last_day), 1)
    markov = _rank(following + popularity / popularity.sum(), clicks)
    popular = _rank(np.broadcast_to(popularity, following.shape), clicks)
    assert best.recall() > 1.3 * last_click.recall(), "what came before the last click tells much"
    assert last_click.recall() > markov.recall() > 2 * popular.recall()
    assert best.mrr() > last_click.mrr() > markov.mrr() > popular.mrr()


def test_the_figures_of_the_default_shop_stay_what_the_demo_counts_on(shop: Catalogue, clicks: Clicks) -> None:
    assert best_ranking(shop, clicks, 5_000).recall() == pytest.approx(0.62, abs=0.03)
    assert last_click_ranking(shop, clicks, 5_000).recall() == pytest.approx(0.43, abs=0.03)


def test_the_optimum_is_that_of_a_plain_forward_filter_and_the_clicks_obey_it() -> None:
    shop = open_shop(SMALL, days=2, seed=3)
    clicks = visit(shop, 4_000, seed=3)
    ranks, expected = _plain_filter(shop, clicks, top=5)
    best = best_ranking(shop, clicks)
    assert np.mean(np.sort(best.rank) == np.sort(ranks)) > 0.999  # up to rounding between nearly equal items
    # the clicks hit the five most probable items as often as the filter believes: generator and filter agree
    assert best.recall(5) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize(
    "differences", [{}, {"stray": 0.6, "change": 0, "mean_length": 4}, {"stray": 0.8, "change": 0.7}]
)
def test_the_last_click_optimum_is_what_endless_counting_would_reach(differences: dict[str, float]) -> None:
    shop = open_shop(replace(SMALL, **differences), days=1, seed=4)  # type: ignore[arg-type]
    counted = visit(shop, 300_000, seed=5)
    clicks = visit(shop, 25_000, seed=6)
    following = np.zeros((len(shop.popularity),) * 2)
    np.add.at(following, _pairs(counted, counted.last_day), 1)
    best = last_click_ranking(shop, clicks)
    by_counting = _rank(following, clicks)
    for top in (1, 5, 10):
        assert best.recall(top) == pytest.approx(by_counting.recall(top), abs=0.003)
    assert best.rank.mean() < by_counting.rank.mean(), "counts are finite: they come close, but not as far"


# The command


def test_the_same_seed_writes_the_same_file_and_csv_equals_parquet(nextclick: Command, tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet", "a.csv"):
        done = nextclick("simulate", "--sessions", 300, "--days", 2, "--seed", 5, "--out", tmp_path / name)
        assert done.code == 0, done.stderr
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    frame = pl.read_parquet(tmp_path / "a.parquet")
    assert frame.equals(pl.read_csv(tmp_path / "a.csv"))
    assert frame.schema == {
        "session_id": pl.Int64, "item_id": pl.Int64, "timestamp": pl.Int64, "split": pl.String
    }  # fmt: skip
    sessions_of_split = frame.group_by("split").agg(pl.col("session_id").n_unique())
    assert dict(sessions_of_split.iter_rows()) == {"train": 150, "test": 150}
    assert frame["session_id"].n_unique() == 300, "no session lies in both splits"
    assert f"{len(frame):,} clicks, 300 sessions, {frame['item_id'].n_unique():,} items, 2026-01-05" in done.stdout
    assert "best reachable from the session so far" in done.stdout


def test_one_day_is_all_train(nextclick: Command, tmp_path: Path) -> None:
    done = nextclick("simulate", "--sessions", 50, "--days", 1, "--no-optimum", "--out", tmp_path / "c.parquet")
    assert done.code == 0, done.stderr
    assert "best reachable" not in done.stdout
    assert set(pl.read_parquet(tmp_path / "c.parquet")["split"]) == {"train"}


@pytest.mark.parametrize(
    ("out", "says"),
    [("clicks.txt", ".parquet or .csv"), ("missing/clicks.csv", "does not exist"), ("folder.csv", "is a folder")],
)
def test_a_file_that_cannot_be_written_fails_with_one_line(
    nextclick: Command, tmp_path: Path, out: str, says: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    done = nextclick("simulate", "--sessions", 10, "--out", tmp_path / out)
    assert done.code == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("wrong", [["--sessions", "0"], ["--sessions", "9", "--days", "0"], ["--days", "2"]])
def test_wrong_usage_exits_with_2_and_writes_nothing(nextclick: Command, tmp_path: Path, wrong: list[str]) -> None:
    done = nextclick("simulate", *wrong, "--out", tmp_path / "c.csv")
    assert done.code == 2
    assert not (tmp_path / "c.csv").exists()


def _by_session(clicks: Clicks) -> NDArray[np.int64]:
    return np.argsort(clicks.session_id, kind="stable")


def _session_ends(clicks: Clicks) -> NDArray[np.bool_]:
    """(clicks - 1,) bool: whether neighbouring clicks, in order of session, belong to different sessions."""
    ends: NDArray[np.bool_] = np.diff(clicks.session_id[_by_session(clicks)]) != 0
    return ends


def _pairs(clicks: Clicks, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index of each clicked item and of the one clicked next, over the chosen clicks' sessions."""
    order = _by_session(clicks)
    order = order[chosen[order]]
    session, item = clicks.session_id[order], clicks.item_id[order] - 1
    within = session[1:] == session[:-1]
    return item[:-1][within], item[1:][within]


def _rank(scores: NDArray[np.float64], clicks: Clicks) -> Ranking:
    """Ranks of the last day's next clicks by scores[last item, next item]; ties count against them."""
    last, following = _pairs(clicks, clicks.last_day)
    ranks = np.empty(len(last), np.int64)
    for item in np.unique(last):
        here = np.flatnonzero(last == item)
        ascending = np.sort(scores[item])
        ranks[here] = len(ascending) - np.searchsorted(ascending, scores[item, following[here]], side="left")
    return Ranking(ranks)


def _plain_filter(shop: Catalogue, clicks: Clicks, top: int) -> tuple[NDArray[np.int64], float]:
    """Ranks by a plain filter over all intentions, click by click; and its mean belief in its `top` best items."""
    config, weight = shop.config, shop.on_sale[-1].astype(np.float64)
    chance: dict[tuple[int, int], NDArray[np.float64]] = {}
    for last in np.flatnonzero(weight):
        for intention in range(config.intentions):
            others = weight.copy()
            others[last] = 0
            anything = others / others.sum()
            others[(shop.intention_of != intention).all(axis=1)] = 0
            focused = others / others.sum() if others.any() else anything
            chance[int(last), intention] = config.stray * anything + (1 - config.stray) * focused
    ranks, believed = [], []
    order = _by_session(clicks)
    order = order[clicks.last_day[order]]
    ends = np.flatnonzero(np.diff(clicks.session_id[order])) + 1
    for session in np.split(clicks.item_id[order] - 1, ends):
        belief = np.bincount(shop.intention_of[session[0]], minlength=config.intentions) / config.attributes
        for last, clicked in zip(session[:-1].tolist(), session[1:].tolist(), strict=True):
            emission = np.stack([chance[last, intention] for intention in range(config.intentions)])  # (z, n)
            predicted = belief @ emission
            ranks.append((predicted >= predicted[clicked]).sum())
            believed.append(np.sort(predicted)[-top:].sum())
            posterior = belief * emission[:, clicked]
            moved = np.bincount(shop.intention_of[clicked], minlength=config.intentions) / config.attributes
            belief = (1 - config.change) * posterior / posterior.sum() + config.change * moved
    return np.array(ranks), float(np.mean(believed))
