import numpy as np
import pytest

from trainer.evaluation.breakdown import by_popularity, by_position, session_bootstrap
from trainer.evaluation.full_ranking import evaluation_of
from trainer.evaluation.ranks import Ranks


def ranks_of(rank: list[float], session: list[int], position: list[int], target: list[int]) -> Ranks:
    return Ranks(np.array(rank, dtype=float), np.array(session), np.array(position), np.array(target))


RANKS = ranks_of([1, 4, 30, 2, 11, 1], [0, 0, 0, 1, 2, 2], [1, 2, 6, 1, 7, 25], [0, 1, 2, 3, 3, 0])


def test_metrics_at_any_cutoff() -> None:
    figures = evaluation_of(RANKS.rank, cutoffs=(2, 11))
    assert figures.events == 6
    assert figures.recall == {2: 3 / 6, 11: 5 / 6}
    assert figures.mrr[2] == pytest.approx((1 + 1 / 2 + 1) / 6)
    assert figures.mrr[11] == pytest.approx((1 + 1 / 4 + 1 / 2 + 1 / 11 + 1) / 6)


def test_by_position_every_event_is_in_one_group() -> None:
    groups = by_position(RANKS, cutoffs=(5,))
    assert {name: (figures.events, figures.recall[5]) for name, figures in groups.items()} == {
        "1": (2, 1),
        "2": (1, 1),
        "6-10": (2, 0),
        "21 or more": (1, 1),
    }


def test_by_popularity_groups_have_like_shares_of_the_training_clicks() -> None:
    support = np.array([50, 25, 5, 20])  # halves: 50 | 25 + 20 + 5
    groups = by_popularity(RANKS, support, cutoffs=(5,), groups=2)
    assert list(groups) == ["5-25 clicks (3 items)", "50 clicks (1 items)"]
    assert [figures.events for figures in groups.values()] == [4, 2]
    assert [figures.recall[5] for figures in groups.values()] == [0.5, 1]


def test_by_popularity_items_of_equal_support_stay_together() -> None:
    (name,) = by_popularity(RANKS, np.array([7, 7, 7, 7]), groups=5)
    assert name == "7 clicks (4 items)"


def test_intervals_hold_the_value_and_narrow_with_more_sessions() -> None:
    random = np.random.default_rng(0)

    def width(sessions: int) -> float:
        hit = random.random(sessions) < 0.4
        rank = np.where(hit, 3.0, 99.0).repeat(4)
        session = np.arange(sessions).repeat(4)
        interval = session_bootstrap(ranks_of(rank, session, session, session), cutoffs=(20,)).recall[20]
        assert interval.low < interval.value < interval.high
        assert interval.value == pytest.approx(hit.mean())
        return interval.high - interval.low

    wide, narrow = width(100), width(1600)
    assert narrow == pytest.approx(wide / 4, rel=0.3)
    # whole sessions are drawn: four equal events of one session give the same interval as one
    assert narrow == pytest.approx(2 * 1.96 * np.sqrt(0.24 / 1600), rel=0.15)


def test_intervals_of_mrr_and_the_seed() -> None:
    first, second, other = (session_bootstrap(RANKS, (20,), draws=200, seed=seed) for seed in (1, 1, 2))
    assert first == second
    assert first != other
    assert first.mrr[20].value == pytest.approx(evaluation_of(RANKS.rank).mrr[20])
