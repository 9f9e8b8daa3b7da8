"""The bootstrap over sessions (Efron 1979): how far a figure would spread on other sessions of the same kind.

Sessions are drawn, not events, because the events of a session depend on one another.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000


def resampled_ratios(
    sums: NDArray[np.number[Any]], events: NDArray[np.int64], draws: int = DRAWS, seed: int = 0
) -> NDArray[np.float64]:
    """Figures per event of data sets that are drawn from the sessions, with replacement.

    Args:
        sums: (K, S), each figure summed over the events of each session.
        events: (S,), each session's number of events, 1 or more.
        draws: data sets, each of S sessions. All figures have the same sessions in a draw, so they are paired.
        seed: of the draws.

    Returns:
        (draws, K).
    """
    summed = np.concatenate([events[None], sums])  # (1+K, S)
    random = np.random.default_rng(seed)
    ratios = np.empty((draws, len(sums)))
    for draw in range(draws):
        times = np.bincount(random.integers(0, len(events), len(events)), minlength=len(events))  # (S,)
        totals = summed @ times  # (1+K,)
        ratios[draw] = totals[1:] / totals[0]
    return ratios
