"""The bootstrap (Efron 1979) over sessions: the events of one session depend on each other."""

import numpy as np
from numpy.typing import NDArray


def resampled_totals(summed: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    """Totals over resampled sets of S sessions, drawn with replacement.

    Args:
        summed: (K, S), K sums for each of S sessions.
        draws: number of resampled sets.
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
