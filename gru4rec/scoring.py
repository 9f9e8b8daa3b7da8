"""Scorers: the last layer's output of some sessions in, their best items out.

Every scorer keeps one contract, `Scorer`, and passes one shared test. `exact_scorer` chooses by device.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gru4rec.compiled import compiled
from gru4rec.topk import NOTHING, block_top_k, merge_top_k, padded_items

PANEL = 2048
"""Items scored at a time on the CPU: a panel of weights and the scores of 64 sessions stay in a cache of 1 MB."""

ROWS = 64
"""Sessions scored at a time on the CPU, for the same reason."""

CANDIDATES = 64
"""Items per session that the quantised scorer scores again in full precision: 3 × the 20 that are wanted."""


class Scorer(Protocol):
    """Finds the best items. I items, h hidden units, scores h·Wyᵀ + By (equation of the module `gru4rec.network`)."""

    def best(self, output: Tensor, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best items of each session, best first.

        Args:
            output: (B, h) float32 on the scorer's device.
            k: how many, at most I.

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
    return PanelScorer(weight, bias) if weight.device.type == "cpu" else DeviceScorer(weight, bias)


class DeviceScorer:
    """Exact, on any device: one product, then the top k by block maxima."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        padding = padded_items(len(bias)) - len(bias)
        self._weight = functional.pad(weight, (0, 0, 0, padding))  # (I', h)
        self._bias = functional.pad(bias, (0, padding), value=-torch.inf)  # (I',)

    def best(self, output: Tensor, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `Scorer`."""
        columns, values = self.search(output, k)
        return columns.cpu().numpy(), values.cpu().numpy()

    @torch.inference_mode()
    def search(self, output: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The same, left on the device: rows of the network (B, k) and their scores (B, k)."""
        scores = torch.addmm(self._bias, output, self._weight.T)  # (B, I')
        values, columns = block_top_k(scores, k)  # (B, k) each
        return columns, values


class PanelScorer:
    """Exact, on the CPU: products of panels of items, whose scores are searched while they are in the cache.

    The bias is a column of the product: outputs get a 1 behind them.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        table = torch.cat([weight, bias.unsqueeze(1)], dim=1).numpy()  # (I, h + 1)
        padding = np.zeros((padded_items(len(table)) - len(table), table.shape[1]), dtype=np.float32)
        padding[:, -1] = NOTHING
        columns = np.concatenate([table, padding]).T  # (h + 1, I')
        self._panels = [np.ascontiguousarray(columns[:, at : at + PANEL]) for at in range(0, columns.shape[1], PANEL)]

    def best(self, output: Tensor, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `Scorer`."""
        outputs = functional.pad(output, (0, 1), value=1.0).numpy()  # (B, h + 1)
        values, rows = nothing_yet(len(outputs), k)
        for part, best, items in _parts(outputs, values, rows):
            for number, panel in enumerate(self._panels):
                merge_top_k(np.dot(part, panel), number * PANEL, best, items)
        return rows, values


class QuantisedScorer:
    """On the CPU: all items are scored in int8, the most promising ones again in float32. Not exact, but nearly.

    Each item's weights and each output are scaled to -127 … 127 by their own largest value. The product is torch's int8
    one (VNNI where the CPU has it).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        items = len(bias)
        padding = padded_items(items) - items
        self._weight, self._bias = weight.numpy(), bias.numpy()
        quantised, scale = _quantise(functional.pad(weight, (0, 0, 0, padding)))  # (I', h) int8, (I',)
        self._panels = [quantised[at : at + PANEL].T.contiguous() for at in range(0, items + padding, PANEL)]
        self._scales = scale.numpy()
        self._biases = functional.pad(bias, (0, padding), value=float(NOTHING)).numpy()
        self._candidates = min(CANDIDATES, items)

    @torch.inference_mode()
    def best(self, output: Tensor, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `Scorer`; the scores are exact, and nearly always the items are."""
        values, rows = nothing_yet(len(output), max(k, self._candidates))
        for part, best, items in _parts(output.numpy(), values, rows):
            quantised, scale = _quantise(torch.from_numpy(part))  # (B, h) int8, (B,)
            for number, panel in enumerate(self._panels):
                at = number * PANEL
                products = torch._int_mm(quantised, panel).numpy()  # (B, n) int32
                scores = np.empty(products.shape, dtype=np.float32)
                _dequantise(products, scale.numpy(), self._scales[at:], self._biases[at:], scores)
                merge_top_k(scores, at, best, items)
        exact = np.einsum("bh,bch->bc", output.numpy(), self._weight[rows]) + self._bias[rows]  # (B, candidates)
        order = np.argsort(-exact, axis=1, kind="stable")[:, :k]  # (B, k)
        return np.take_along_axis(rows, order, 1), np.take_along_axis(exact, order, 1)


def nothing_yet(sessions: int, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Values and columns for `merge_top_k` to begin with."""
    return np.full((sessions, k), NOTHING, dtype=np.float32), np.zeros((sessions, k), dtype=np.int64)


def _parts(
    outputs: NDArray[np.float32], values: NDArray[np.float32], rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]]:
    for at in range(0, len(outputs), ROWS):
        yield outputs[at : at + ROWS], values[at : at + ROWS], rows[at : at + ROWS]


def _quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    scale = rows.abs().amax(dim=1).clamp_min(1e-12) / 127  # (B,)
    return (rows / scale.unsqueeze(1)).round().to(torch.int8), scale


@compiled
def _dequantise(
    products: NDArray[np.int32],
    output_scales: NDArray[np.float32],
    item_scales: NDArray[np.float32],
    biases: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> None:
    for row in range(products.shape[0]):
        for column in range(products.shape[1]):
            scores[row, column] = products[row, column] * (output_scales[row] * item_scales[column]) + biases[column]
