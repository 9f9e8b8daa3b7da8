"""The scores of a blend against a plain numpy computation of the formula in `rankers.blend.model`."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clicklog.items import ItemIndex
from rankers.blend.model import Blend
from rankers.contract import Memory
from rankers.families import family_of
from tests.rankers.blend.made_blends import CPU, INDEX, ITEMS, KNOWN, clicks_of, made, ranker_of, sessions

K = 20


def in_levels(rows: NDArray[np.float32], levels: int) -> NDArray[np.float64]:
    """Each row rounded to whole multiples of its largest value / levels, as int8 products take it."""
    scale = np.abs(rows).max(axis=1, keepdims=True).astype(np.float64) / levels
    return np.rint(rows / scale) * scale


def plain(blend: Blend, rows: list[int], weight: float) -> NDArray[np.float64]:
    """The scores (ITEMS,) after a session, from the scores of two rankers of the parts."""
    scores = np.zeros(ITEMS)
    network = family_of(blend.network_family).ranker(
        blend.network, ItemIndex(range(KNOWN), np.ones(KNOWN)), CPU, "exact"
    )
    known = [row for row in rows if row < KNOWN]
    neighbours = family_of("stan").ranker(blend.neighbours, INDEX, CPU, "exact")
    n = neighbours.scores(neighbours.advance(clicks_of([rows]), Memory.empty(1, neighbours.needs)).queries)[-1]
    weight = 1.0 if not known else 0.0 if not n.any() else weight
    if known:
        queries = network.advance(clicks_of([known]), Memory.empty(1, network.needs)).queries
        g = network.scores(queries)[-1].astype(np.float64)
        whole = in_levels(queries.numpy()[-1:], 127) @ in_levels(network.output.weight.numpy(), 63).T
        normaliser = np.exp((whole[0] + network.output.bias.numpy()) / blend.temperature).sum()
        scores[:KNOWN] = (1 - weight) * np.exp(g / blend.temperature) / normaliser
    if n.any():
        scores += weight * n / n.astype(np.float64).sum()
    return scores


@pytest.mark.parametrize("family", ["gru4rec", "sasrec"])
def test_scores_are_those_of_the_formula(family: str) -> None:
    blend = made(0.4, family=family)
    ranker, rows = ranker_of(blend), sessions()
    advanced = ranker.advance(clicks_of(rows), Memory.empty(len(rows), ranker.needs))
    assert advanced.ranked.all(), "the neighbours' last five items are in the index too"
    last = np.cumsum([len(one) for one in rows]) - 1
    scores = ranker.scores(advanced.queries)[last]
    expected = np.array([plain(blend, one, 0.4) for one in rows])
    np.testing.assert_allclose(scores, expected, rtol=2e-4)
    np.testing.assert_allclose(scores.sum(axis=1)[:-4], 1, rtol=0.08)  # the normaliser is that of int8 products
    assert expected[-4].max() == 0, "an item that nobody has, alone"


def test_each_item_says_how_much_of_its_score_the_neighbours_brought() -> None:
    blend = made()
    ranker, rows = ranker_of(blend), sessions()
    queries = ranker.advance(clicks_of([one[-1:] for one in rows]), Memory.empty(len(rows), ranker.needs)).queries
    top, brought = ranker.best_and_brought(queries, K)
    np.testing.assert_array_equal(top.rows, ranker.best(queries, K).rows)
    for number, one in enumerate(rows):
        n = plain(blend, one[-1:], 1.0)
        of_neighbours = n if one[-1] >= KNOWN else 0.3 * n
        if one[-1] == ITEMS - 1:
            assert not brought[number].any()
            continue
        both = np.maximum(top.scores[number], 1e-30)
        np.testing.assert_allclose(brought[number], of_neighbours[top.rows[number]] / both, rtol=0.02, atol=1e-6)
    only_neighbours = top.rows[top.rows >= KNOWN]
    assert len(only_neighbours)
    assert (brought[(top.rows >= KNOWN) & (top.scores > 0)] == 1).all()


@pytest.mark.parametrize("family", ["gru4rec", "sasrec"])
def test_with_int8_scoring_the_answer_is_nearly_always_the_exact_one(family: str) -> None:
    blend, rows = made(0.4, family=family), sessions(200)
    exact, nearly = ranker_of(blend), ranker_of(blend, "int8")
    queries = exact.advance(clicks_of(rows), Memory.empty(len(rows), exact.needs)).queries
    expected, top = exact.best(queries, K), nearly.best(queries, K)
    alike = expected.rows == top.rows
    assert alike.mean() > 0.999
    np.testing.assert_array_equal(top.scores[alike], expected.scores[alike])
    for number in range(0, len(queries), 9):  # alone as in the batch, bit by bit
        alone = nearly.best(queries[number : number + 1], K)
        np.testing.assert_array_equal(alone.rows[0], top.rows[number])
        np.testing.assert_array_equal(alone.scores[0], top.scores[number])


@pytest.mark.parametrize(("weight", "part"), [(0.0, "network"), (1.0, "neighbours")])
def test_at_the_ends_of_the_weight_one_part_answers_alone(weight: float, part: str) -> None:
    blend = made(weight)
    ranker = ranker_of(blend)
    rows = [[row] for row in range(KNOWN)]
    queries = ranker.advance(clicks_of(rows), Memory.empty(KNOWN, ranker.needs)).queries
    if part == "network":
        alone = family_of("gru4rec").ranker(blend.network, ItemIndex(range(KNOWN), np.ones(KNOWN)), CPU, "exact")
    else:
        alone = family_of("stan").ranker(blend.neighbours, INDEX, CPU, "exact")
    expected = alone.best(alone.advance(clicks_of(rows), Memory.empty(KNOWN, alone.needs)).queries, K)
    np.testing.assert_array_equal(ranker.best(queries, K).rows, expected.rows)


def test_a_session_for_which_there_are_no_neighbours_is_answered_by_the_network() -> None:
    alone = KNOWN - 1  # an item of the network that no neighbour has
    blends = ranker_of(made(1.0, without=alone)), ranker_of(made(0.0, without=alone))
    rows = [[1], [alone], [2]]
    tops = []
    for ranker in blends:
        queries = ranker.advance(clicks_of(rows), Memory.empty(3, ranker.needs)).queries
        tops.append((ranker.best(queries, 20), ranker.scores(queries)))
    (top, scores), (of_network, scores_of_network) = tops
    np.testing.assert_array_equal(top.rows[1], of_network.rows[1])
    np.testing.assert_array_equal(top.scores[1], of_network.scores[1])
    np.testing.assert_array_equal(scores[1], scores_of_network[1])
    assert (top.rows[0] != of_network.rows[0]).any()
