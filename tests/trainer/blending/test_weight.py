"""Weight and temperature of a blend are those of the best blend of the grid, each judged by full ranking."""

import copy
import itertools

import numpy as np
import pytest
import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.blend.model import Blend
from rankers.blend.ranker import BlendRanker
from rankers.families import counted_family_of, family_of, network_family_of
from rankers.neighbours.family import Neighbours
from tests.trainer.made_sessions import markov_sessions, support_of
from tests.trainer.made_sessions import sessions_of as made_of
from trainer.blending import weight as weight_module
from trainer.blending.weight import fit_weight
from trainer.config import FitConfig
from trainer.evaluation.full_ranking import evaluate
from trainer.fit import fit

ITEMS = 60


def in_lists(sessions: Sessions) -> list[list[int]]:
    bounds = sessions.offsets.tolist()
    return [sessions.items[first:end].tolist() for first, end in itertools.pairwise(bounds)]


INDEX = ItemIndex(list(range(ITEMS)), np.ones(ITEMS, dtype=np.int64))
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=[ITEMS, 50], ids=["all items", "a network of fewer items"])
def parts(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, Neighbours]:
    """A network that was trained for two epochs, and few neighbours: neither is right everywhere."""
    sessions = markov_sessions(0.3, 400, seed=1)
    torch.manual_seed(0)
    network = network_family_of("gru4rec").untrained({"items": request.param, "hidden": 16})
    known = made_of(*([item for item in one if item < request.param] for one in in_lists(sessions)))
    fit(network, known, support_of(known, request.param), FitConfig(epochs=2, samples=16))
    neighbours = counted_family_of("stan").count({"items": ITEMS, "k": 5, "newest": 10}, sessions)
    return network.requires_grad_(False).eval(), neighbours


def ranker_of(parts: tuple[torch.nn.Module, Neighbours], weight: float = 0.5, temperature: float = 1.0) -> BlendRanker:
    network, neighbours = parts
    rows = network.config.items
    blend = Blend("gru4rec", network, INDEX.ids[:rows], "stan", neighbours, weight, temperature)
    ranker = family_of("blend").ranker(blend, INDEX, CPU, "exact")
    assert isinstance(ranker, BlendRanker)
    return ranker


def judged(sessions: Sessions, parts: tuple[torch.nn.Module, Neighbours], weight: float, temperature: float) -> tuple:
    found = evaluate(ranker_of(parts, weight, temperature), sessions)
    return found.recall[20], found.mrr[20]


def test_the_best_blend_of_the_grid_is_found(
    parts: tuple[torch.nn.Module, Neighbours], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_module, "WEIGHTS", np.array([0, 0.1, 0.4, 1]))
    monkeypatch.setattr(weight_module, "TEMPERATURES", np.array([0.5, 1.5]))
    sessions = markov_sessions(0.3, 120, seed=2)
    fitted = fit_weight(ranker_of(parts), sessions)
    grid = {(w, t): judged(sessions, parts, w, t) for w in (0, 0.1, 0.4, 1) for t in (0.5, 1.5)}
    best = max(grid, key=lambda place: sum(grid[place]))
    assert fitted.blend == pytest.approx(grid[best]), "judged as it is served"
    assert (fitted.weight, fitted.temperature) == best
    assert fitted.network == pytest.approx(grid[0, 1.5])
    assert fitted.neighbours == pytest.approx(grid[1, 1.5])
    assert 0 < best[0] < 1, "in this shop both parts together are better than each alone"


def test_of_many_sessions_the_newest_are_looked_at(
    parts: tuple[torch.nn.Module, Neighbours], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = markov_sessions(0.3, 120, seed=2)
    newest = Sessions(sessions.items[sessions.offsets[100] :], sessions.offsets[100:] - sessions.offsets[100])
    ranker = ranker_of(parts)
    expected = fit_weight(ranker, newest)
    monkeypatch.setattr(weight_module, "MOST_EVENTS", newest.pairs + 1)
    assert fit_weight(ranker, sessions) == expected


@pytest.mark.parametrize(
    ("other", "chosen"),
    [([1, 21], 0.1), ([1, 1], 0.4)],
    ids=["more hits win over a higher MRR", "as many hits, and higher ones"],
)
def test_recall_and_mrr_count_alike(
    parts: tuple[torch.nn.Module, Neighbours], monkeypatch: pytest.MonkeyPatch, other: list[int], chosen: float
) -> None:
    """Of two blends: one has both next items at rank 20, Recall + MRR = 1.05; the other has `other` ranks."""
    ranks = np.array([[[20, other[0]]], [[20, other[1]]]], dtype=np.uint8)  # (E, T, W)
    monkeypatch.setattr(weight_module, "WEIGHTS", np.array([0.1, 0.4]))
    monkeypatch.setattr(weight_module, "TEMPERATURES", np.array([1.0]))
    monkeypatch.setattr(weight_module, "_ranks", lambda _ranker, _sessions: ranks)
    assert fit_weight(ranker_of(parts), markov_sessions(0.3, 2, seed=2)).weight == chosen


@pytest.mark.parametrize("weight", [0.1, 0.3, 0.6])
def test_a_blend_is_judged_with_the_probabilities_that_are_served(
    parts: tuple[torch.nn.Module, Neighbours], weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, neighbours = parts
    sharp = copy.deepcopy(network)
    ranker_of((sharp, neighbours)).network.output.weight.mul_(6)  # the int8 products are far from the exact ones
    monkeypatch.setattr(weight_module, "WEIGHTS", np.array([weight]))
    monkeypatch.setattr(weight_module, "TEMPERATURES", np.array([0.8]))
    sessions = markov_sessions(0.3, 120, seed=2)
    fitted = fit_weight(ranker_of((sharp, neighbours)), sessions)
    assert fitted.blend == pytest.approx(judged(sessions, (sharp, neighbours), weight, 0.8))
