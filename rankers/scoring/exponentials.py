"""Sums of exp(score / temperature) over all items, from the integer products of `QuantisedScorer`.

Sizes in the shape comments: B sessions, n items of a panel.
"""

import numpy as np
from numpy.typing import NDArray

from rankers.compiled import compiled_for_numbers, compiled_in_order
from rankers.scoring.topk import ITEMS

LANES = 128
"""Partial sums of a session: independent of each other, so that they are computed in vector registers."""

LN2 = float(np.log(2))
_1, _2, _3, _4 = (np.float32(LN2), np.float32(LN2**2 / 2), np.float32(LN2**3 / 6), np.float32(LN2**4 / 24))
_ONE = np.float32(1)
_LOWEST = np.float32(-1e6)  # of places without an item
_LEAST_POWER = np.float32(-126)  # 2^-126 is the least normal float32 number
_EXPONENT_OF_ONE, _MANTISSA_BITS = np.int32(127), np.int32(23)


class Exponentials:
    """Σ exp(score / temperature) of B sessions, added up panel by panel.

    The same digits on every CPU and in every batch: the products are integers, and every sum has the order that is
    written. An exponential is a power of 2, of which the fraction of the exponent is a polynomial: its relative error
    is below 6e-5. A whole number is subtracted from all exponents, which changes no digit of the sum.

    Args:
        sessions: B.
        temperature: above 0.
    """

    def __init__(self, sessions: int, temperature: float) -> None:
        self._factor = np.float32(1 / (LN2 * temperature))
        self._shifts = np.full(sessions, -1e6, dtype=np.float32)  # (B,)
        self._sums = np.zeros((sessions, LANES), dtype=np.float32)

    def add(
        self,
        products: NDArray[np.int32],
        scales: NDArray[np.float32],
        item_scales: NDArray[np.float32],
        biases: NDArray[np.float32],
        first: int,
        bounds: NDArray[np.float32],
    ) -> None:
        """Add a panel; a score is product · scale · item scale + bias.

        Args:
            products: (B, n).
            scales: (B,).
            item_scales: (n,).
            biases: (n,).
            first: number of the panel's first block.
            bounds: (B, blocks), upper bounds of the scores in each block of all items.
        """
        item_scales, biases = item_scales * self._factor, np.maximum(biases, _LOWEST / self._factor) * self._factor
        _add(products, scales, item_scales, biases, first, bounds, self._factor, self._shifts, self._sums)

    @property
    def log(self) -> NDArray[np.float64]:
        """(B,) the logarithms of the sums."""
        sums: NDArray[np.float64] = self._sums.astype(np.float64).sum(axis=1)
        return np.log(sums) + self._shifts.astype(np.float64) * LN2


@compiled_in_order
def _add(
    products: NDArray[np.int32],
    scales: NDArray[np.float32],
    item_scales: NDArray[np.float32],
    biases: NDArray[np.float32],
    block: int,
    bounds: NDArray[np.float32],
    factor: np.float32,
    shifts: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:
    fractions = np.empty(LANES, dtype=np.float32)
    bits = np.empty(LANES, dtype=np.int32)
    powers = bits.view(np.float32)
    blocks = products.shape[1] // ITEMS
    for row in range(products.shape[0]):
        lanes, scale = sums[row], scales[row]
        shift = max(shifts[row], np.ceil(_highest(bounds[row, block : block + blocks]) * factor))
        lanes *= np.float32(2.0 ** (shifts[row] - shift))
        shifts[row] = shift
        for first in range(0, products.shape[1], LANES):
            mine = products[row, first : first + LANES]
            factors, added = item_scales[first : first + LANES], biases[first : first + LANES]
            for lane in range(len(mine)):
                exponent = np.float32(mine[lane]) * scale * factors[lane] + added[lane]
                whole = np.rint(exponent)
                y = exponent - whole
                fractions[lane] = _ONE + y * (_1 + y * (_2 + y * (_3 + y * _4)))
                whole -= shift
                whole = whole if whole > _LEAST_POWER else _LEAST_POWER
                bits[lane] = (np.int32(whole) + _EXPONENT_OF_ONE) << _MANTISSA_BITS
            for lane in range(len(mine)):
                lanes[lane] += fractions[lane] * powers[lane]


@compiled_for_numbers
def _highest(bounds: NDArray[np.float32]) -> np.float32:
    highest = np.float32(-np.inf)
    for bound in bounds:
        highest = max(highest, bound)
    return highest
