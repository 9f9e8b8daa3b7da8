"""Weight and temperature of a blend are those of the best blend of the grid, each judged by full ranking."""

import numpy as np
import pytest
import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.blend.model import Blend
from rankers.families import counted_family_of, family_of, network_family_of
from rankers.neighbours.family import Neighbours
from tests.trainer.made_sessions import markov_sessions, support_of
from trainer.blending import weights
from trainer.blending.weights import fit_weights
from trainer.evaluation.full_ranking import evaluate
from trainer.fit import fit
from trainer.presets import FAMILY_DEFAULTS

ITEMS = 60
INDEX = ItemIndex(list(range(ITEMS)), np.ones(ITEMS, dtype=np.int64))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def parts() -> tuple[torch.nn.Module, Neighbours]:
    """A network that was trained for one epoch, and few neighbours: neither is right everywhere."""
    sessions = markov_sessions(0.3, 400, seed=1)
    torch.manual_seed(0)
    network = network_family_of("gru4rec").untrained({"items": ITEMS, "hidden": 16})
    fit(network, sessions, support_of(sessions, ITEMS), FAMILY_DEFAULTS["gru4rec"].fit.__class__(epochs=2, samples=16))
    neighbours = counted_family_of("stan").count({"items": ITEMS, "k": 5, "newest": 10}, sessions)
    return network.requires_grad_(False).eval(), neighbours


def judged(sessions: Sessions, parts: tuple[torch.nn.Module, Neighbours], weight: float, temperature: float) -> tuple:
    network, neighbours = parts
    blend = Blend("gru4rec", network, INDEX.ids, "stan", neighbours, (weight,), temperature)
    found = evaluate(family_of("blend").ranker(blend, INDEX, CPU, "exact"), sessions)
    return found.recall[20], found.mrr[20]


def test_the_best_blend_of_the_grid_is_found(
    parts: tuple[torch.nn.Module, Neighbours], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "WEIGHTS", np.array([0, 0.1, 0.4, 1]))
    monkeypatch.setattr(weights, "TEMPERATURES", np.array([0.5, 1.5]))
    sessions = markov_sessions(0.3, 120, seed=2)
    fitted = fit_weights(family_of("gru4rec").ranker(parts[0], INDEX, CPU, "exact"), parts[1], sessions)
    grid = {(w, t): judged(sessions, parts, w, t) for w in (0, 0.1, 0.4, 1) for t in (0.5, 1.5)}
    best = max(grid, key=lambda place: sum(grid[place]))
    assert sum(fitted.blend) == pytest.approx(sum(grid[best]), abs=0.003)  # the grid has the exact normaliser
    assert (*fitted.weights, fitted.temperature) == best
    assert fitted.network == pytest.approx(grid[0, 1.5])
    assert fitted.neighbours == pytest.approx(grid[1, 1.5])
    assert 0 < best[0] < 1, "in this shop both parts together are better than each alone"


def test_of_many_sessions_the_newest_are_looked_at(
    parts: tuple[torch.nn.Module, Neighbours], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = markov_sessions(0.3, 120, seed=2)
    newest = Sessions(sessions.items[sessions.offsets[100] :], sessions.offsets[100:] - sessions.offsets[100])
    network = family_of("gru4rec").ranker(parts[0], INDEX, CPU, "exact")
    expected = fit_weights(network, parts[1], newest)
    monkeypatch.setattr(weights, "MOST_EVENTS", newest.pairs + 1)
    assert fit_weights(network, parts[1], sessions) == expected
