"""The bootstrap (Efron 1979) over sessions: the events of one session depend on each other."""

import numpy as np
from numpy.typing import NDArray


def resampled_totals(summed: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    """Totals over sets of as many sessions, drawn with replacement.

    Args:
        summed: (K, S), what is summed within each session.
        draws: how many sets.
        seed: of the draws.

    Returns:
        (draws, K) float64.
    """
    sessions = summed.shape[1]
    random = np.random.default_rng(seed)
    totals = np.empty((draws, len(summed)))
    for draw in range(draws):
        times = np.bincount(random.integers(0, sessions, sessions), minlength=sessions)  # (S,)
        totals[draw] = summed @ times
    return totals
