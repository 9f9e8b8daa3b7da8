"""Scorers: find the best items of some sessions from the output of the network's last layer.

Every scorer implements `Scorer` and passes one shared test. `exact_scorer` chooses one by device.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rankers.compiled import compiled, compiled_for_numbers, compiled_in_order
from rankers.scoring.exponentials import Exponentials
from rankers.scoring.topk import (
    BLOCK,
    ITEMS,
    NOTHING,
    best_of_blocks,
    block_maxima,
    block_top_k,
    quantised_block_maxima,
)

PANEL = 1024
"""Items scored at a time on the CPU: a panel of weights and its scores for ROWS sessions fit into a cache of 1 MB."""

ROWS = 128
"""Sessions scored at a time on the CPU, for the same reason; 64 with panels of 2048 were a tenth slower."""

ROUNDING = 2.0**-22
"""Bound of the difference of two float32 sums of h products, relative to h · |x| · |w|; twice the theoretical bound."""

OUTPUT_LEVELS, WEIGHT_LEVELS = 127, 63
"""Largest int8 values. Without VNNI a CPU adds two products in 16 bits; 2 · 255 · 64 just fits."""

T = TypeVar("T", bound=np.generic)


class Scorer(Protocol):
    """Finds the best items. I items, h hidden units, scores h·Wyᵀ + By (`rankers.gru4rec.network`)."""

    def best(self, output: Tensor, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best items of each session, best first.

        Args:
            output: (B, h) float32 on the scorer's device.
            k: number of items, at most I.

        Returns:
            rows of the network (B, k) and their scores (B, k).
        """
        ...


def exact_scorer(weight: Tensor, bias: Tensor) -> Scorer:
    """The fastest exact scorer for the device that the weights are on.

    Args:
        weight: Wy, (I, h) float32.
        bias: By, (I,) float32.
    """
    if weight.device.type != "cpu":
        return DeviceScorer(weight, bias)
    if torch.backends.cpu.get_cpu_capability() == "AVX512":  # with AVX2, int8 products are slower than float32 products
        return QuantisedScorer(weight, bias)
    return PanelScorer(weight, bias)


class DeviceScorer:
    """Exact, for any device: one product, then the top k by block maxima."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        padding = -len(bias) % BLOCK
        self._weight = functional.pad(weight, (0, 0, 0, padding))  # (I', h)
        self._bias = functional.pad(bias, (0, padding), value=-torch.inf)  # (I',)

    def best(self, output: Tensor, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `Scorer`."""
        columns, values = self.search(output, k)
        return columns.cpu().numpy(), values.cpu().numpy()

    @torch.inference_mode()
    def best_and_log_sums(
        self, output: Tensor, k: int, temperature: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The rows of `best`, and the log of Σ exp(score / temperature) over all items, (B,)."""
        scores = torch.addmm(self._bias, output, self._weight.T)  # (B, I')
        log_sums = torch.logsumexp(scores / temperature, dim=1)
        return block_top_k(scores, k)[1].cpu().numpy(), log_sums.double().cpu().numpy()

    @torch.inference_mode()
    def search(self, output: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """`best` with results on the device: rows of the network (B, k) and their scores (B, k)."""
        scores = torch.addmm(self._bias, output, self._weight.T)  # (B, I')
        values, columns = block_top_k(scores, k)  # (B, k) each
        return columns, values


class BlockScorer:
    """On the CPU: upper bounds of the scores in each block of items, then the scores of the few blocks that can matter.

    The bounds of a panel are computed while its scores are in the cache. The last step computes the final scores,
    always by the same sum, and the order. So an answer does not depend on the other rows or on the product's kernel.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight.contiguous().numpy(), bias.contiguous().numpy()

    def best(self, output: Tensor, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `Scorer`."""
        return self._best(output, k, self._bound)

    def _best(
        self, output: Tensor, k: int, bound: Callable[[NDArray[np.float32], NDArray[np.float32]], None]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        outputs = output.contiguous().numpy()  # (B, h)
        values, rows = np.empty((len(outputs), k), dtype=np.float32), np.empty((len(outputs), k), dtype=np.int64)
        blocks = -(-len(self._bias) // ITEMS)
        for at in range(0, len(outputs), ROWS):
            part = outputs[at : at + ROWS]
            bounds = np.empty((len(part), blocks), dtype=np.float32)
            bound(part, bounds)
            best_of_blocks(bounds, part, self._weight, self._bias, values[at : at + ROWS], rows[at : at + ROWS])
        return rows, values

    @abstractmethod
    def _bound(self, output: NDArray[np.float32], bounds: NDArray[np.float32]) -> None:
        """Write upper bounds of the scores in each block, (B, blocks), for outputs (B, h)."""


class PanelScorer(BlockScorer):
    """Exact: float32 products. The bias is the last column of the weights; outputs get a 1 appended."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__(weight, bias)
        table = np.concatenate([self._weight, self._bias[:, np.newaxis]], axis=1)  # (I, h + 1)
        self._slack = ROUNDING * table.shape[1] * np.linalg.norm(table, axis=1).max()
        padding = np.zeros((-len(table) % ITEMS, table.shape[1]), dtype=np.float32)
        padding[:, -1] = NOTHING
        self._panels = [np.ascontiguousarray(panel.T) for panel in _panels(np.concatenate([table, padding]))]

    def _bound(self, output: NDArray[np.float32], bounds: NDArray[np.float32]) -> None:
        outputs = np.concatenate([output, np.ones((len(output), 1), dtype=np.float32)], axis=1)  # (B, h + 1)
        slack = self._slack * np.linalg.norm(outputs, axis=1)  # (B,)
        for number, panel in enumerate(self._panels):
            block_maxima(np.dot(outputs, panel), slack, number * PANEL // ITEMS, bounds)


class QuantisedScorer(BlockScorer):
    """int8 products, then float32 scores. Exact, because the bounds include the largest possible rounding error.

    Outputs x and each item's weights w are scaled to integers by their own largest value; x = x̂ + δ, w = ŵ + ε. By the
    Cauchy-Schwarz inequality |x·w − x̂·ŵ| ≤ |x||ε| + |δ||w| + |δ||ε|.

    Args:
        exact: whether the whole error bound is added. Rounding errors have both signs and partly cancel: the total is
            rarely above 3/√h of the bound. Adding only that much is a little faster and nearly always exact.
    """

    def __init__(self, weight: Tensor, bias: Tensor, exact: bool = True) -> None:
        super().__init__(weight, bias)
        self._allowed = 1.0 if exact else min(1.0, 3 / weight.shape[1] ** 0.5)
        table = np.pad(self._weight, ((0, -len(self._weight) % ITEMS), (0, 0)))  # (I', h)
        highest = self._bias + ROUNDING * table.shape[1] * np.abs(self._bias)  # (I,)
        biases = np.pad(highest, (0, len(table) - len(highest)), constant_values=NOTHING)  # (I',)
        quantised, scales, lengths, errors = _quantise(table, WEIGHT_LEVELS)
        self._length, self._error = (lengths / scales).max(), (errors / scales).max()
        self._panels = [
            (torch.from_numpy(panel).T.contiguous(), item_scales, item_biases)
            for panel, item_scales, item_biases in zip(
                _panels(quantised), _panels(scales), _panels(biases), strict=True
            )
        ]

    def best_and_log_sums(
        self, output: Tensor, k: int, temperature: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The rows of `best`, and the log of Σ exp(score / temperature) over all items, (B,).

        The sum is that of the scores from the int8 products, which are computed once for both.
        """
        log_sums = [np.empty(0)]

        def bound(part: NDArray[np.float32], bounds: NDArray[np.float32]) -> None:
            log_sums.append(self._bound_and_sum(part, bounds, temperature))

        rows, _ = self._best(output, k, bound)
        return rows, np.concatenate(log_sums)

    def _bound(self, output: NDArray[np.float32], bounds: NDArray[np.float32]) -> None:
        self._bound_and_sum(output, bounds, None)

    def _bound_and_sum(
        self, output: NDArray[np.float32], bounds: NDArray[np.float32], temperature: float | None
    ) -> NDArray[np.float64]:
        """`_bound`, and the log of the sums of exponentials, (B,); zeros without a temperature."""
        quantised, scales, lengths, errors = _quantise(output, OUTPUT_LEVELS)  # (B, h) int8, (B,) each
        slack = self._allowed * (lengths * self._error + errors * (self._length + self._error))  # (B,)
        slack += ROUNDING * output.shape[1] * lengths * self._length
        outputs = torch.from_numpy(quantised)
        sums = None if temperature is None else Exponentials(len(output), temperature)
        for number, (panel, item_scales, biases) in enumerate(self._panels):
            products = torch._int_mm(outputs, panel).numpy()  # (B, n) int32
            first = number * PANEL // ITEMS
            quantised_block_maxima(products, scales, slack, item_scales, biases, first, bounds)
            if sums is not None:
                sums.add(products, scales, item_scales, biases, first, bounds)
        return np.zeros(len(output)) if sums is None else sums.log


def _panels(table: NDArray[T]) -> list[NDArray[T]]:
    """The rows of a table (I', …) in panels; in each, the first item of every block, then the second ones, …"""
    parts = [table[at : at + PANEL] for at in range(0, len(table), PANEL)]
    return [np.concatenate([part[place::ITEMS] for place in range(ITEMS)]) for part in parts]


def _quantise(
    rows: NDArray[np.float32], levels: int
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Integers (n, h), each row's scale (n,), its norm (n,) and the norm of its rounding errors (n,)."""
    integers, scales = _integers(rows, levels)
    return integers, scales, *_norms(rows, integers, scales)


@compiled_in_order
def _integers(rows: NDArray[np.float32], levels: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers and scales; the same on every CPU, because sums of exponentials depend on them."""
    integers = np.empty(rows.shape, dtype=np.int8)
    scales = np.empty(len(rows), dtype=np.float32)
    for number in range(len(rows)):
        row, mine = rows[number], integers[number]
        scale = np.float32(max(np.float32(1e-12), _largest(row)) / levels)
        for unit in range(len(row)):
            mine[unit] = np.int8(np.rint(row[unit] / scale))
        scales[number] = scale
    return integers, scales


@compiled_for_numbers
def _largest(row: NDArray[np.float32]) -> np.float32:
    largest = np.float32(0)
    for value in row:
        largest = max(largest, abs(value))
    return largest


@compiled
def _norms(
    rows: NDArray[np.float32], integers: NDArray[np.int8], scales: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The norms (n,) of the rows, and of their differences from integer · scale."""
    lengths, errors = np.empty_like(scales), np.empty_like(scales)
    for number in range(len(rows)):
        row, mine, scale = rows[number], integers[number], scales[number]
        length, error = np.float32(0), np.float32(0)
        for unit in range(len(row)):
            length += row[unit] * row[unit]
            error += (row[unit] - np.float32(mine[unit]) * scale) ** 2
        lengths[number], errors[number] = np.sqrt(length), np.sqrt(error)
    return lengths, errors
