"""Negative samples: items drawn by popularity, shared by all lanes of a step."""

import numpy as np
from numpy.typing import NDArray


class NegativeSampler:
    """Draws items with P ∝ support^alpha, in constant time per item, by Walker's alias method (Vose 1991) in 64 bits.

    A float32 cumulative sum would starve rare items. Duplicates, and items that are also targets, are kept.

    Args:
        support: (I,) training clicks of each item, at least 1.
        alpha: 1 draws by popularity, 0 uniformly.
        seed: of the random numbers.
    """

    def __init__(self, support: NDArray[np.int64], alpha: float, seed: int) -> None:
        weights = support.astype(np.float64) ** alpha  # (I,)
        self.probability = weights / weights.sum()  # (I,)
        self._keep, self._alias = _alias_table(self.probability)  # (I,) each
        self._random = np.random.default_rng(seed)

    def draw(self, count: int) -> NDArray[np.int64]:
        """Draw `count` item rows, (count,) int64."""
        slot = self._random.integers(0, len(self._keep), count)  # (count,)
        return np.where(self._random.random(count) < self._keep[slot], slot, self._alias[slot])


def _alias_table(probability: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each slot the probability of keeping its own item, and the item that has the rest of the slot."""
    keep = probability * len(probability)
    alias = np.arange(len(keep))
    small = np.flatnonzero(keep < 1).tolist()
    large = np.flatnonzero(keep >= 1).tolist()
    while small and large:
        poor, rich = small.pop(), large[-1]
        alias[poor] = rich
        keep[rich] -= 1 - keep[poor]
        if keep[rich] < 1:
            small.append(large.pop())
    keep[small + large] = 1  # what rounding left over
    return keep, alias
