import numpy as np
import pytest

from rankers.scoring.masked import best_allowed


@pytest.mark.parametrize("k", [1, 3, 5, 20, 200])
def test_at_equal_scores_the_lower_row_comes_first(k: int) -> None:
    scores = np.zeros((3, 200), dtype=np.float32)
    scores[:, [150, 7]] = 1
    allowed = np.ones((3, 200), dtype=bool)
    allowed[1, :10] = False
    allowed[2, 9:] = False
    top = best_allowed(scores, k, allowed)
    order = [7, 150, *(row for row in range(200) if row not in (7, 150))]
    assert top.rows[0].tolist() == order[:k]
    assert top.rows[1].tolist() == ([150, *range(10, 150), *range(151, 200)] + [-1] * 10)[:k]
    assert top.rows[2].tolist() == ([7, 0, 1, 2, 3, 4, 5, 6, 8] + [-1] * 191)[:k]
    assert (np.diff(top.scores[0]) <= 0).all()
    assert np.isneginf(top.scores[2][9:]).all()


def test_one_mask_for_all() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    assert best_allowed(scores, 2, np.array([False, True, True])).rows.tolist() == [[1, 2], [2, 1]]
