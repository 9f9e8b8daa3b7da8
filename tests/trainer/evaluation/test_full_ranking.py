import numpy as np
import pytest
import torch

from clicklog.sessions import Sessions
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from schemas.errors import TrainingError
from tests.rankers.gru4rec.ready import ranker_of
from trainer.evaluation import ranks
from trainer.evaluation.full_ranking import CUTOFFS, evaluate


def random_sessions(count: int, items: int) -> Sessions:
    random = np.random.default_rng(0)
    lengths = random.integers(2, 9, count)
    return Sessions(random.integers(0, items, lengths.sum()), np.concatenate([[0], np.cumsum(lengths)]))


def naive_ranks(network: GRU4Rec, sessions: Sessions) -> list[int]:
    """One session at a time: score all items, sort, find the next item."""
    ranks = []
    for begin, end in zip(sessions.offsets[:-1], sessions.offsets[1:], strict=True):
        state = network.initial_state(1)
        for clicked, target in zip(sessions.items[begin : end - 1], sessions.items[begin + 1 : end], strict=True):
            state = network.step(torch.tensor([clicked]), state)
            order = network.scores(state[:, -1])[0].argsort(descending=True).tolist()
            ranks.append(order.index(target) + 1)
    return ranks


@pytest.mark.parametrize(("together", "scores_at_once"), [(256, 4_000_000), (3, 4_000_000), (256, 100), (5, 1)])
def test_figures_equal_score_and_sort(monkeypatch: pytest.MonkeyPatch, together: int, scores_at_once: int) -> None:
    monkeypatch.setattr(ranks, "SESSIONS_AT_ONCE", together)
    monkeypatch.setattr(ranks, "SCORES_AT_ONCE", scores_at_once)
    torch.manual_seed(0)
    network = GRU4Rec(NetworkConfig(items=40, hidden=8, layers=2)).double()
    with torch.no_grad():
        network.output_bias.normal_()
    sessions = random_sessions(30, 40)
    places = np.array(naive_ranks(network, sessions))
    result = evaluate(ranker_of(network), sessions)
    assert result.events == len(places)
    for cutoff in CUTOFFS:
        hits = places[places <= cutoff]
        assert result.recall[cutoff] == pytest.approx(len(hits) / len(places))
        assert result.mrr[cutoff] == pytest.approx((1 / hits).sum() / len(places))


def test_any_cut_offs() -> None:
    network = GRU4Rec(NetworkConfig(items=40, hidden=8))
    sessions = random_sessions(30, 40)
    result = evaluate(ranker_of(network), sessions, cutoffs=(3, 40))
    assert list(result.recall) == list(result.mrr) == [3, 40]
    assert 0 < result.recall[3] < result.recall[40] == 1


def test_ties_count_against_the_network_unless_asked_otherwise() -> None:
    network = GRU4Rec(NetworkConfig(items=40, hidden=8))
    with torch.no_grad():
        network.output_weight.zero_()
    sessions = random_sessions(10, 40)
    assert evaluate(ranker_of(network), sessions).recall[20] == 0
    assert evaluate(ranker_of(network), sessions, ties="standard").recall[1] == 1
    assert evaluate(ranker_of(network), sessions, ties="median").recall[20] == 0
    assert evaluate(ranker_of(network), sessions, ties="median").mrr[20] == 0


def test_a_broken_network_is_no_perfect_one() -> None:
    network = GRU4Rec(NetworkConfig(items=40, hidden=8))
    with torch.no_grad():
        network.output_bias[:] = torch.nan
    with pytest.raises(TrainingError, match=r"cannot be evaluated: the score of target .* is not a number"):
        evaluate(ranker_of(network), random_sessions(10, 40))


def test_nothing_to_evaluate() -> None:
    empty = Sessions(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64))
    with pytest.raises(TrainingError, match="no session has two clicks on items that the model knows"):
        evaluate(ranker_of(GRU4Rec(NetworkConfig(items=40))), empty)
