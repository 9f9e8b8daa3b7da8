"""What every baseline must do, independent of its method."""

from collections.abc import Callable

import numpy as np
import pytest

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from rankers.baselines import BASELINES, Baseline, make_baseline
from rankers.metrics import Recall
from schemas.errors import TrainingError
from trainer.evaluation.ranks import rank_events

MakeSessions = Callable[[list[list[int]]], Sessions]
MakePrefixes = Callable[[list[list[int]]], Prefixes]
EVENTS = [[0], [3, 4], [5, 5, 1], [12], [2, 9, 2, 7, 11, 0, 1, 2, 3, 4, 5, 6, 7, 8]]


@pytest.fixture(params=sorted(BASELINES))
def fitted(request: pytest.FixtureRequest, make_sessions: MakeSessions, walks: list[list[int]]) -> Baseline:
    rival = make_baseline(request.param, seed=1)
    rival.fit(make_sessions(walks), items=13)
    return rival


def test_every_item_has_a_number(fitted: Baseline, make_prefixes: MakePrefixes) -> None:
    scores = fitted.scores(make_prefixes(EVENTS))
    assert scores.shape == (len(EVENTS), 13)
    assert np.isfinite(scores).all()


def test_an_event_scores_the_same_alone_and_in_a_batch(fitted: Baseline, make_prefixes: MakePrefixes) -> None:
    together = fitted.scores(make_prefixes(EVENTS))
    for row, event in enumerate(EVENTS):
        np.testing.assert_allclose(fitted.scores(make_prefixes([event]))[0], together[row], rtol=1e-5)


def test_scoring_changes_neither_the_rival_nor_what_it_returned_before(
    fitted: Baseline, make_prefixes: MakePrefixes
) -> None:
    first = fitted.scores(make_prefixes(EVENTS))
    kept = first.copy()
    second = fitted.scores(make_prefixes(EVENTS))
    second[:] = -1
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(fitted.scores(make_prefixes(EVENTS)), kept)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_the_seed_decides_all(
    name: str, make_sessions: MakeSessions, make_prefixes: MakePrefixes, walks: list[list[int]]
) -> None:
    scores = []
    for _ in range(2):
        rival = make_baseline(name, seed=5)
        rival.fit(make_sessions(walks), items=13)
        scores.append(rival.scores(make_prefixes(EVENTS)))
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize(("name", "floor"), [(name, 0.9) for name in sorted(BASELINES) if not name.endswith("pop")])
def test_it_learns_where_there_is_something_to_learn(name: str, floor: float, make_sessions: MakeSessions) -> None:
    """40 groups of 3 items; a session cycles through its group: two of 120 items are likely, chance is .017."""
    random = np.random.default_rng(0)

    def walk() -> list[int]:
        group, start = random.integers(40), random.integers(3)
        return [int(3 * group + (start + click) % 3) for click in range(6)]

    rival = make_baseline(name, seed=1)
    rival.fit(make_sessions([walk() for _ in range(600)]), items=120)
    recall = Recall(3)
    recall.add(rank_events(rival.scores, make_sessions([walk() for _ in range(50)]), items=120).rank)
    assert recall.result() >= floor


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"bpr-mf", "fpmc"}))  # random initial factors: no ties
def test_what_a_rival_knows_nothing_of_is_no_hit(name: str, make_sessions: MakeSessions) -> None:
    """Conservative ties: an item without evidence ranks behind all other items without evidence."""
    rival = make_baseline(name)
    rival.fit(make_sessions([[0, 1]] * 3 + [[item, item] for item in range(2, 30)]), items=30)
    (rank,) = rank_events(rival.scores, make_sessions([[0, 25]]), items=30).rank
    assert rank > 20


def test_an_unknown_name() -> None:
    with pytest.raises(TrainingError, match="there is no method 'item-nn': choose from pop, s-pop, item-knn"):
        make_baseline("item-nn")
