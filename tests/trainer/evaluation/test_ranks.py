import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from schemas.errors import TrainingError
from tests.rankers.gru4rec.ready import ranker_of
from trainer.evaluation import ranks as module
from trainer.evaluation.full_ranking import evaluate
from trainer.evaluation.ranks import Ranks, rank_events, rank_streamed

ITEMS = 40


@pytest.fixture
def sessions() -> Sessions:
    random = np.random.default_rng(0)
    lengths = random.integers(2, 9, 30)
    return Sessions(random.integers(0, ITEMS, lengths.sum()), np.concatenate([[0], np.cumsum(lengths)]))


@pytest.fixture
def network() -> GRU4Rec:
    torch.manual_seed(0)
    network = GRU4Rec(NetworkConfig(items=ITEMS, hidden=8, layers=2)).double()
    with torch.no_grad():
        network.output_bias.normal_()
    return network


def last_click_scores(prefixes: Prefixes) -> NDArray[np.floating]:
    """The best item is (last click + sum of all clicks) mod ITEMS; each item before it scores one less."""
    summed = np.add.reduceat(prefixes.items, prefixes.offsets[:-1])
    return -((np.arange(ITEMS)[None] - prefixes.last[:, None] - summed[:, None]) % ITEMS).astype(np.float64)


def plain(sessions: Sessions) -> list[tuple[int, int, int, int]]:
    rows = []
    for number, (begin, end) in enumerate(zip(sessions.offsets[:-1], sessions.offsets[1:], strict=True)):
        clicks = sessions.items[begin:end].tolist()
        for seen in range(1, len(clicks)):
            prefix = Prefixes(np.array(clicks[:seen]), np.array([0, seen]))
            order = np.argsort(-last_click_scores(prefix)[0], kind="stable").tolist()
            rows.append((order.index(clicks[seen]) + 1, number, seen, clicks[seen]))
    return rows


@pytest.mark.parametrize("scores_at_once", [1, 130, 4_000_000])
def test_every_event_is_ranked_in_its_place(
    monkeypatch: pytest.MonkeyPatch, sessions: Sessions, scores_at_once: int
) -> None:
    monkeypatch.setattr(module, "SCORES_AT_ONCE", scores_at_once)
    reports: list[tuple[int, int]] = []
    ranks = rank_events(last_click_scores, sessions, ITEMS, progress=lambda *now: reports.append(now))
    found = list(zip(ranks.rank, ranks.session, ranks.position, ranks.target, strict=True))
    assert found == plain(sessions)
    assert reports[-1] == (sessions.pairs, sessions.pairs)


@pytest.mark.parametrize(("at_once", "scores_at_once"), [(2048, 4_000_000), (7, 100), (1, 1)])
def test_a_network_ranks_as_its_evaluation_says(
    monkeypatch: pytest.MonkeyPatch, network: GRU4Rec, sessions: Sessions, at_once: int, scores_at_once: int
) -> None:
    monkeypatch.setattr(module, "SESSIONS_AT_ONCE", at_once)
    monkeypatch.setattr(module, "SCORES_AT_ONCE", scores_at_once)
    ranks = rank_streamed(ranker_of(network), sessions)
    expected = evaluate(ranker_of(network), sessions)
    assert len(ranks) == expected.events
    for cutoff, recall in expected.recall.items():
        hits = ranks.rank[ranks.rank <= cutoff]
        assert len(hits) / len(ranks) == recall
        assert (1 / hits).sum() / len(ranks) == pytest.approx(expected.mrr[cutoff])


def test_a_network_ranks_each_event_as_if_it_were_the_only_one(network: GRU4Rec, sessions: Sessions) -> None:
    ranks = rank_streamed(ranker_of(network), sessions)

    def by_replay(prefixes: Prefixes) -> NDArray[np.floating]:
        rows = []
        for begin, end in zip(prefixes.offsets[:-1], prefixes.offsets[1:], strict=True):
            state = network.initial_state(1)
            for item in prefixes.items[begin:end]:
                state = network.step(torch.tensor([item]), state)
            rows.append(network.scores(state[:, -1])[0].detach().numpy())
        return np.array(rows)

    expected: Ranks = rank_events(by_replay, sessions, ITEMS)
    for name in ("rank", "session", "position", "target"):
        np.testing.assert_array_equal(getattr(ranks, name), getattr(expected, name))


def test_ties_count_against_the_method(sessions: Sessions) -> None:
    def flat(prefixes: Prefixes) -> NDArray[np.floating]:
        return np.zeros((len(prefixes), ITEMS))

    assert set(rank_events(flat, sessions, ITEMS).rank) == {ITEMS}
    assert set(rank_events(flat, sessions, ITEMS, ties="standard").rank) == {1}


def test_nothing_to_rank_and_no_numbers_to_rank_by(sessions: Sessions) -> None:
    empty = Sessions(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64))
    with pytest.raises(TrainingError, match="there is nothing to evaluate"):
        rank_events(last_click_scores, empty, ITEMS)
    with pytest.raises(TrainingError, match="is not a number"):
        rank_events(lambda prefixes: np.full((len(prefixes), ITEMS), np.nan), sessions, ITEMS)
