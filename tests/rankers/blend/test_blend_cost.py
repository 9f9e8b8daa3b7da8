"""What a blend computes: nothing that its answer does not need, and no table of its network twice."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rankers.contract import Memory
from rankers.scoring.output_layer import OutputLayer
from rankers.scoring.scorers import BlockScorer, QuantisedScorer
from tests.rankers.blend.made_blends import ITEMS, KNOWN, clicks_of, made, ranker_of, sessions

ALONE = KNOWN - 1
"""An item of the network that no neighbour has."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of sessions of each product with all the network's items."""
    numbers: list[int] = []
    whole = QuantisedScorer.best_and_log_sums

    def counted(self: QuantisedScorer, output: torch.Tensor, k: int, temperature: float) -> tuple:
        numbers.append(len(output))
        return whole(self, output, k, temperature)

    monkeypatch.setattr(QuantisedScorer, "best_and_log_sums", counted)
    return numbers


def test_neighbours_that_answer_alone_cost_no_product_of_the_network(asked: list[int]) -> None:
    ranker = ranker_of(made((0.5, 1.0), without=ALONE))
    rows = [[1, 2], [3, 4, 5], [KNOWN, 6]]
    last = np.cumsum([len(one) for one in rows]) - 1
    queries = ranker.advance(clicks_of(rows), Memory.empty(len(rows), ranker.needs)).queries
    for place in last:
        ranker.best(queries[place : place + 1], 20)
        ranker.scores(queries[place : place + 1])
    assert not asked
    ranker.best(queries, 20)
    assert asked == [2], "sessions of one click; of the item that the network lacks it has nothing to say"


def test_a_session_for_which_there_are_no_neighbours_is_answered_by_the_network(asked: list[int]) -> None:
    blends = ranker_of(made((1.0,), without=ALONE)), ranker_of(made((0.0,), without=ALONE))
    rows = [[1], [ALONE], [2]]
    tops = []
    for ranker in blends:
        queries = ranker.advance(clicks_of(rows), Memory.empty(3, ranker.needs)).queries
        tops.append((ranker.best(queries, 20), ranker.scores(queries)))
    assert asked[0] == 1
    (top, scores), (of_network, scores_of_network) = tops
    np.testing.assert_array_equal(top.rows[1], of_network.rows[1])
    np.testing.assert_array_equal(top.scores[1], of_network.scores[1])
    np.testing.assert_array_equal(scores[1], scores_of_network[1])
    assert (top.rows[0] != of_network.rows[0]).any()


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
@pytest.mark.parametrize("scoring", ["exact", "int8"])
def test_the_tables_of_a_scorer_are_made_once(capability: str, scoring: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    made_scorers: list[str] = []
    whole = BlockScorer.__init__

    def noted(self: BlockScorer, *arguments: torch.Tensor) -> None:
        made_scorers.append(type(self).__name__)
        whole(self, *arguments)

    monkeypatch.setattr(BlockScorer, "__init__", noted)
    for family in ("gru4rec", "sasrec"):
        made_scorers.clear()
        ranker = ranker_of(made(family=family), scoring)
        ranker.warm_up(64)
        ranker.network.output.scorer_with_sums()
        assert made_scorers == ["QuantisedScorer"]


@pytest.mark.parametrize("known", [KNOWN, ITEMS])
def test_the_scores_of_all_items_copy_no_weights(known: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[bool] = []
    whole = OutputLayer.scores

    def noted(self: OutputLayer, queries: torch.Tensor, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
        chosen.append(rows is not None)
        return whole(self, queries, rows)

    monkeypatch.setattr(OutputLayer, "scores", noted)
    ranker, rows = ranker_of(made(known=known)), sessions()
    queries = ranker.advance(clicks_of(rows), Memory.empty(len(rows), ranker.needs)).queries
    of_all = ranker.scores(queries)
    assert chosen == [False]
    np.testing.assert_allclose(of_all, ranker.scores(queries, np.arange(ITEMS)), rtol=1e-6)
