import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rankers.metrics import MeanReciprocalRank, Recall, target_ranks


@given(scores=arrays(np.float32, (4, 12), elements=st.integers(-3, 3)), target=st.integers(0, 11))
def test_ranks_are_places_in_a_sorted_list(scores: np.ndarray, target: int) -> None:
    ranks = {ties: target_ranks(scores, np.full(4, target), ties) for ties in ("conservative", "standard", "median")}
    for row, values in enumerate(scores):
        places = [place for place, value in enumerate(sorted(values, reverse=True), 1) if value == values[target]]
        assert ranks["standard"][row] == places[0]
        assert ranks["conservative"][row] == places[-1]
        assert ranks["median"][row] == (places[0] + places[-1]) / 2


def test_a_network_that_scores_everything_alike_ranks_last() -> None:
    assert target_ranks(np.zeros((1, 50)), np.array([7])).tolist() == [50]


def test_a_score_that_is_no_number_has_no_rank() -> None:
    with pytest.raises(ValueError, match="score of target 1 is not a number"):
        target_ranks(np.array([[0.0, np.nan]]), np.array([1]))


def test_recall_and_mrr_add_up_over_calls() -> None:
    recall, mrr = Recall(5), MeanReciprocalRank(5)
    for metric in (recall, mrr):
        assert metric.result() == 0
        metric.add([1, 5])
        metric.add(np.array([6, np.inf]))
        metric.add(2)
    assert recall.result() == 3 / 5
    assert mrr.result() == pytest.approx((1 + 1 / 5 + 1 / 2) / 5)
