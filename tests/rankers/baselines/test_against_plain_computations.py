"""Each baseline against its formula, computed event by event in plain Python."""

import math
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from rankers.baselines.bpr_mf import BPRMF
from rankers.baselines.fpmc import FactorisedTransitions
from rankers.baselines.item_knn import ItemKNN
from rankers.baselines.markov import MarkovChain
from rankers.baselines.popularity import Popularity, SessionPopularity

MakeSessions = Callable[[list[list[int]]], Sessions]
MakePrefixes = Callable[[list[list[int]]], Prefixes]
ITEMS = 13
EVENTS = [[0], [3, 4], [5, 5, 1], [12], [2, 9, 2, 7, 11, 0, 1, 2, 3, 4, 5, 6, 7, 8], [12] + [3] * 11]


def test_pop(make_sessions: MakeSessions, make_prefixes: MakePrefixes, walks: list[list[int]]) -> None:
    rival = Popularity()
    rival.fit(make_sessions(walks), ITEMS)
    clicks = Counter(item for walk in walks for item in walk)
    assert rival.scores(make_prefixes(EVENTS)).tolist() == [[clicks[item] for item in range(ITEMS)]] * len(EVENTS)


def test_s_pop(make_sessions: MakeSessions, make_prefixes: MakePrefixes, walks: list[list[int]]) -> None:
    rival = SessionPopularity()
    rival.fit(make_sessions(walks), ITEMS)
    clicks = Counter(item for walk in walks for item in walk)
    for event, scores in zip(EVENTS, rival.scores(make_prefixes(EVENTS)), strict=True):
        keys = [(event.count(item), clicks[item]) for item in range(ITEMS)]
        for item in range(ITEMS):
            for other in range(ITEMS):
                assert (keys[item] < keys[other]) == (scores[item] < scores[other])


def test_item_knn(make_sessions: MakeSessions, make_prefixes: MakePrefixes, walks: list[list[int]]) -> None:
    rival = ItemKNN(regularisation=3)
    rival.fit(make_sessions(walks), ITEMS)
    having = [{number for number, walk in enumerate(walks) if item in walk} for item in range(ITEMS)]

    def similarity(i: int, j: int) -> float:
        if i == j:
            return 0
        return len(having[i] & having[j]) / (math.sqrt(len(having[i]) + 3) * math.sqrt(len(having[j]) + 3))

    expected = [[similarity(event[-1], item) for item in range(ITEMS)] for event in EVENTS]
    np.testing.assert_allclose(rival.scores(make_prefixes(EVENTS)), expected, rtol=1e-6)


def test_markov(make_sessions: MakeSessions, make_prefixes: MakePrefixes, walks: list[list[int]]) -> None:
    rival = MarkovChain()
    rival.fit(make_sessions(walks), ITEMS)
    pairs = Counter((i, j) for walk in walks for i, j in pairwise(walk))
    leaving = Counter(i for walk in walks for i in walk[:-1])
    expected = [[pairs[event[-1], item] / leaving[event[-1]] for item in range(ITEMS)] for event in EVENTS]
    np.testing.assert_allclose(rival.scores(make_prefixes(EVENTS)), expected, rtol=1e-12)


def test_an_item_that_only_ends_sessions_leads_nowhere(
    make_sessions: MakeSessions, make_prefixes: MakePrefixes
) -> None:
    rival = MarkovChain()
    rival.fit(make_sessions([[0, 1], [0, 1]]), 2)
    assert rival.scores(make_prefixes([[1], [0]])).tolist() == [[0, 0], [0, 1]]


def test_bpr_mf_averages_the_factors_of_the_clicks(make_sessions: MakeSessions, make_prefixes: MakePrefixes) -> None:
    rival = BPRMF(factors=4, epochs=3, seed=2)
    rival.fit(make_sessions([[0, 1, 2], [1, 2], [3, 4, 3], [4, 0]]), 5)
    alone = rival.scores(make_prefixes([[0], [3]]))
    (both,) = rival.scores(make_prefixes([[0, 3, 0]]))
    np.testing.assert_allclose(both, (2 * alone[0] + alone[1]) / 3, rtol=1e-5, atol=1e-6)


def test_fpmc_takes_the_first_step_of_its_formula(make_sessions: MakeSessions, make_prefixes: MakePrefixes) -> None:
    """One transition, one epoch: from the same start, against a plain S-BPR in float64."""
    lazy, rival = (
        FactorisedTransitions(factors=3, epochs=epochs, learning_rate=0.1, regularisation=0.01, seed=7)
        for epochs in (0, 1)
    )
    for one in (lazy, rival):
        one.fit(make_sessions([[0, 1]]), 4)
    P, Q = lazy._before.astype(np.float64), lazy._after.astype(np.float64)
    random = np.random.default_rng(7)
    random.normal(0, 0.1, (2, 4, 4))
    random.permutation(1)
    (k,) = random.integers(0, 4, 1)
    assert k != 1, "the seed draws a real negative"
    push = 1 / (1 + np.exp(P[0] @ (Q[1] - Q[k])))

    def step(gradient: np.ndarray) -> np.ndarray:
        return 0.1 * gradient / np.sqrt(gradient**2 + 1e-6)

    expected_P, expected_Q = P.copy(), Q.copy()
    expected_P[0, :3] -= step(0.01 * P[0] - push * (Q[1] - Q[k]))[:3]
    expected_Q[1] -= step(0.01 * Q[1] - push * P[0])
    expected_Q[k] -= step(0.01 * Q[k] + push * P[0])
    np.testing.assert_allclose(rival._before, expected_P, rtol=1e-4)
    np.testing.assert_allclose(rival._after, expected_Q, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(rival.scores(make_prefixes([[0]]))[0], expected_P[0] @ expected_Q.T, rtol=1e-3)
