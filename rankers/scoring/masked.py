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
    masked = np.where(allowed, scores, scores.dtype.type(-np.inf))  # (Q, I)
    found = (
        np.argpartition(-masked, k - 1, axis=1)[:, :k]
        if k < masked.shape[1]
        else np.tile(np.arange(masked.shape[1]), (len(masked), 1))
    )
    values = np.take_along_axis(masked, found, axis=1)  # (Q, k)
    order = np.lexsort((found, -values), axis=1)  # at equal scores the lower row comes first
    rows, values = np.take_along_axis(found, order, axis=1), np.take_along_axis(values, order, axis=1)
    return Top(np.where(np.isneginf(values), -1, rows), values.astype(np.float32, copy=False))
