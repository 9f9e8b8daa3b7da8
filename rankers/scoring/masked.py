"""Exact top k among the items that may be recommended."""

import numpy as np
from numpy.typing import NDArray

from rankers.contract import Mask, Top


def best_allowed(scores: NDArray[np.floating], k: int, allowed: Mask) -> Top:
    """The k best allowed items of each row.

    Args:
        scores: (Q, I).
        k: at most I.
        allowed: (I,), or (Q, I).

    Returns:
        (Q, k) rows and scores, best first; -1 and -inf where fewer than k items are allowed.
    """
    rows = np.full((len(scores), k), -1, dtype=np.int64)
    values = np.full((len(scores), k), -np.inf, dtype=np.float32)
    for number, row in enumerate(scores):
        may = allowed if allowed.ndim == 1 else allowed[number]
        best = _best(np.where(may, row, -np.inf), k)
        best = best[may[best]]
        rows[number, : len(best)], values[number, : len(best)] = best, row[best]
    return Top(rows, values)


def _best(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """The rows of the k highest scores (I,), best first; at equal scores the lower row comes first."""
    if k < len(scores):
        least = np.partition(scores, -k)[-k]
        above = np.flatnonzero(scores > least)
        chosen = np.concatenate([above, np.flatnonzero(scores == least)[: k - len(above)]])
    else:
        chosen = np.arange(len(scores))
    return chosen[np.lexsort((chosen, -scores[chosen]))]
