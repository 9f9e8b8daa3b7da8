"""Negative samples: items drawn by popularity, shared by all lanes of a step."""

import numpy as np
from numpy.typing import NDArray

GOLDEN = 0x9E3779B97F4A7C15
"""2⁶⁴ divided by the golden ratio: the increment of splitmix64."""

FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""The two multipliers of splitmix64."""

WORD = (1 << 64) - 1


class NegativeSampler:
    """Draws items with P ∝ support^alpha, in constant time per item, by Walker's alias method (Vose 1991) in 64 bits.

    In a float32 cumulative sum rare items would lose their probability to rounding. Duplicates are kept, and so are
    items that are also targets.

    The n-th draw depends only on the seed and n. So the compiled kernel draws the same items, and a training that
    resumes from a checkpoint draws the same items as one that was not interrupted.

    Args:
        support: (I,) training clicks of each item, at least 1.
        alpha: 1 draws by popularity, 0 uniformly.
        seed: of the random numbers.

    Attributes:
        drawn: number of items drawn so far.
        key: of the random stream, derived from the seed; see `random_words`.
        keep: (I,) float64, the probability that a slot draws its own item.
        alias: (I,) int64, the item that a slot draws otherwise.
    """

    def __init__(self, support: NDArray[np.int64], alpha: float, seed: int) -> None:
        weights = support.astype(np.float64) ** alpha  # (I,)
        self.probability = weights / weights.sum()  # (I,)
        self.keep, self.alias = _alias_table(self.probability)  # (I,) each
        self.key = stream_key(seed, "negatives")
        self.drawn = 0

    def draw(self, count: int) -> NDArray[np.int64]:
        """Draw `count` item rows, (count,) int64."""
        words = random_words(self.key, self.drawn, count)  # (count,)
        self.drawn += count
        place = (words >> np.uint64(11)) * (len(self.keep) / 2.0**53)  # (count,), slot number plus a fraction in [0, 1)
        slot = place.astype(np.int64)
        return np.where(place - slot < self.keep[slot], slot, self.alias[slot])


def stream_key(seed: int, stream: str) -> int:
    """The key of a named stream of random numbers, an unsigned 64-bit number; streams of a seed are independent."""
    name = int.from_bytes(stream.encode()[:8], "little")
    return int(random_words(int(random_words(seed & WORD, 0, 1)[0]) ^ name, 0, 1)[0])


def random_words(key: int, first: int, count: int) -> NDArray[np.uint64]:
    """Random numbers `first` to `first + count` (exclusive) of a stream, (count,) uint64.

    The generator is splitmix64 (Steele et al. 2014).
    """
    numbers = np.arange(count, dtype=np.uint64) + np.uint64((first + 1) & WORD)
    word = np.uint64(key) + numbers * np.uint64(GOLDEN)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(FIRST)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(SECOND)
    return word ^ (word >> np.uint64(31))


def _alias_table(probability: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """`keep` and `alias` of `NegativeSampler`, (I,) each."""
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
    keep[small + large] = 1  # left over by rounding
    return keep, alias
