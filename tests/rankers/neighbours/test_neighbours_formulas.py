"""VS-kNN and STAN against their formulas, computed session by session in plain Python."""

import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from rankers.contract import Clicks, Memory, Ranker
from rankers.families import counted_family_of
from trainer.evaluation.ranks import rank_streamed

ITEMS = 13
EVENTS = [[0], [3, 4], [5, 5, 1], [12], [2, 9, 2, 7, 11, 0, 1, 2, 3, 4, 5, 6, 7, 8], [12] + [3] * 11]
SIZES = [(1000, 1000), (5, 1000), (1000, 9), (3, 6)]
"""(k, newest)."""

Scores = dict[int, float]


@pytest.fixture
def walks() -> list[list[int]]:
    """60 sessions that repeat items, over 12 items; item 12 of 13 is clicked only once."""
    random = np.random.default_rng(3)
    return [random.integers(0, 12, random.integers(2, 8)).tolist() for _ in range(60)] + [[12, 1]]


def ranker_of(family: str, walks: list[list[int]], items: int, **settings: float) -> Ranker:
    offsets = np.concatenate([[0], np.cumsum([len(walk) for walk in walks])])
    sessions = Sessions(np.concatenate(walks), offsets)
    counted = counted_family_of(family)
    model = counted.count({"items": items, **settings}, sessions)
    index = ItemIndex(list(range(items)), np.ones(items, dtype=np.int64))
    return counted.ranker(model, index, torch.device("cpu"), "exact")


def scores_of(ranker: Ranker) -> NDArray[np.floating]:
    offsets = np.concatenate([[0], np.cumsum([len(event) for event in EVENTS])])
    return ranker.scores(Prefixes(np.concatenate(EVENTS), offsets))


def neighbours(
    walks: list[list[int]], event: list[int], newest: int, k: int, similarity: Callable[[int, list[int]], float]
) -> list[tuple[list[int], list[int], float]]:
    """The sessions, the items that each shares with the event, and their similarities: the `newest` sessions of each
    item, the `newest` of these, then the `k` most similar; ties to the newest."""
    shared: defaultdict[int, list[int]] = defaultdict(list)
    for item in set(event):
        for number in [number for number, walk in enumerate(walks) if item in walk][-newest:]:
            shared[number].append(item)
    similarities = {number: similarity(number, shared[number]) for number in sorted(shared)[-newest:]}
    kept = sorted(similarities, key=lambda number: (round(similarities[number], 9), number))[-k:]
    return [(walks[number], shared[number], similarities[number]) for number in kept]


def back(event: list[int], item: int) -> int:
    return event[::-1].index(item)


def vs_knn(walks: list[list[int]], event: list[int], newest: int, k: int) -> Scores:
    def similarity(_: int, shared: list[int]) -> float:
        return sum((len(event) - back(event, item)) / len(event) for item in shared)

    scores: defaultdict[int, float] = defaultdict(float)
    for walk, shared, weight in neighbours(walks, event, newest, k, similarity):
        latest = min(back(event, item) for item in shared)
        for item in set(walk):
            rarity = math.log(len(walks) / sum(item in other for other in walks))
            scores[item] += weight * max(0, 1 - 0.1 * latest) * rarity
    return scores


def stan(walks: list[list[int]], event: list[int], newest: int, k: int) -> Scores:
    def similarity(number: int, shared: list[int]) -> float:
        age = (len(walks) - 1 - number) / len(walks)
        weight = sum(math.exp(-back(event, item) / 1.5) for item in shared)
        return weight / math.sqrt(len(set(walks[number]))) * math.exp(-age / 0.3)

    scores: defaultdict[int, float] = defaultdict(float)
    for walk, shared, weight in neighbours(walks, event, newest, k, similarity):
        last = {item: position for position, item in enumerate(walk)}
        match = min(shared, key=lambda item: back(event, item))
        for item in last:
            scores[item] += weight * math.exp(-abs(last[item] - last[match]) / 2)
    return scores


@pytest.mark.parametrize(("k", "newest"), SIZES)
def test_vs_knn(walks: list[list[int]], k: int, newest: int) -> None:
    ranker = ranker_of("vs-knn", walks, ITEMS, k=k, newest=newest)
    for event, found in zip(EVENTS, scores_of(ranker), strict=True):
        expected = vs_knn(walks, event, newest, k)
        np.testing.assert_allclose(found, [expected[item] for item in range(ITEMS)], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("k", "newest"), SIZES)
def test_stan(walks: list[list[int]], k: int, newest: int) -> None:
    decays = {"position_decay": 1.5, "age_decay": 0.3, "distance_decay": 2.0}
    ranker = ranker_of("stan", walks, ITEMS, k=k, newest=newest, **decays)
    for event, found in zip(EVENTS, scores_of(ranker), strict=True):
        expected = stan(walks, event, newest, k)
        np.testing.assert_allclose(found, [expected[item] for item in range(ITEMS)], rtol=1e-5, atol=1e-30)


def test_a_session_longer_than_the_window_is_read_from_its_newest_items(walks: list[list[int]]) -> None:
    ranker = ranker_of("vs-knn", walks, ITEMS, window=3)
    event = np.array([9, 2, 9, 4, 5])
    clicks = Clicks(event, np.zeros(5, dtype=np.int64), np.arange(5), np.zeros(5, dtype=bool))
    found = ranker.scores(ranker.advance(clicks, Memory.empty(1, ranker.needs)).queries)
    for place, scores in enumerate(found):
        expected = vs_knn(walks, event[max(0, place - 2) : place + 1].tolist(), 1000, 1000)
        np.testing.assert_allclose(scores, [expected[item] for item in range(ITEMS)], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["vs-knn", "stan"])
def test_items_that_no_neighbour_has_follow_in_the_order_of_their_rows(family: str, walks: list[list[int]]) -> None:
    ranker = ranker_of(family, walks, 40, k=3)
    queries = Prefixes(np.array([12]), np.array([0, 1]))  # one neighbour: [12, 1]
    allowed = np.ones(40, dtype=bool)
    allowed[[0, 3, 12]] = False
    top = ranker.best(queries, 5, allowed)
    assert top.rows.tolist() == [[1, 2, 4, 5, 6]]
    assert top.scores[0, 0] > 0
    assert top.scores[0, 1:].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("family", ["vs-knn", "stan"])
def test_it_learns_where_there_is_something_to_learn(family: str) -> None:
    """40 groups of 3 items; a session cycles through its group: two of 120 items are likely, chance is .017."""
    random = np.random.default_rng(0)

    def walk() -> list[int]:
        group, start = random.integers(40), random.integers(3)
        return [int(3 * group + (start + click) % 3) for click in range(6)]

    ranker = ranker_of(family, [walk() for _ in range(600)], 120)
    tests = [walk() for _ in range(50)]
    judged = Sessions(np.concatenate(tests), np.arange(0, 6 * 50 + 1, 6))
    assert (rank_streamed(ranker, judged).rank <= 3).mean() >= 0.9


@pytest.mark.parametrize("family", ["vs-knn", "stan"])
def test_an_item_without_evidence_ranks_behind_all_others_without_evidence(family: str) -> None:
    ranker = ranker_of(family, [[0, 1]] * 3 + [[item, item] for item in range(2, 30)], 30)
    (rank,) = rank_streamed(ranker, Sessions(np.array([0, 25]), np.array([0, 2]))).rank
    assert rank > 20
