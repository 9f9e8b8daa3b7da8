"""The best k of many scores, without sorting what cannot be among them.

A plain top-k over all items costs more than the matrix product that made the scores. Taking the maximum of each block
of items first is one pass over memory; the k best items lie in the k blocks with the highest maxima, so only those
blocks are searched. Exact.

A block holds items that lie far apart: with N/BLOCK blocks, block i is made of the columns i, i + N/BLOCK, …, so that
the maxima of neighbouring blocks are taken side by side in vector registers.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gru4rec.compiled import compiled_for_numbers

BLOCK = 16
"""Items in a block: 16 and 32 measured alike, 8 and 64 slower (`benchmarks/topk.py`)."""

NOTHING = np.float32(-3.0e38)
"""Below every score: where less than k were found."""


def padded_items(items: int) -> int:
    """The next multiple of BLOCK: how many score columns the functions here want for so many items."""
    return -(-items // BLOCK) * BLOCK


def block_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row, best first; for any device.

    Args:
        scores: (B, N) float, N a multiple of BLOCK; fill up with -inf.
        k: how many, at most N.

    Returns:
        values (B, k) and columns (B, k) int64.
    """
    rows, columns = scores.shape
    blocks = columns // BLOCK
    if blocks <= k:
        best = torch.topk(scores, k)
        return best.values, best.indices
    grouped = scores.view(rows, BLOCK, blocks)  # (B, BLOCK, blocks)
    best_blocks = torch.topk(grouped.amax(dim=1), k, sorted=False).indices  # (B, k)
    candidates = grouped.gather(2, best_blocks.unsqueeze(1).expand(rows, BLOCK, k))  # (B, BLOCK, k)
    values, places = torch.topk(candidates.reshape(rows, BLOCK * k), k)  # (B, k) each
    block = best_blocks.gather(1, places % k)  # (B, k)
    return values, places // k * blocks + block


@compiled_for_numbers
def merge_top_k(
    scores: NDArray[np.float32],
    first: int,
    values: NDArray[np.float32],
    columns: NDArray[np.int64],
) -> None:
    """Merge the scores of some items into the best k so far of each row; for the CPU, one thread, without the GIL.

    The k-th best among the blocks' maxima and the best so far bounds what can still be among the best, so that few
    scores are looked at one by one: what costs time is not comparing but guessing a branch wrong.

    Args:
        scores: (B, n) float32, n a multiple of BLOCK; NOTHING for a column that is no item.
        first: number of the first of these items.
        values: (B, k) float32, the best so far by falling score, NOTHING at first; updated.
        columns: (B, k) int64, their item numbers; updated.
    """
    blocks = scores.shape[1] // BLOCK
    k = values.shape[1]
    maxima = np.empty(blocks, dtype=np.float32)
    bounds = np.empty(k, dtype=np.float32)
    promising = np.empty(k, dtype=np.int64)
    for row in range(scores.shape[0]):
        mine, best, items = scores[row], values[row], columns[row]
        for block in range(blocks):
            maxima[block] = mine[block]
        for start in range(blocks, BLOCK * blocks, blocks):
            for block in range(blocks):
                maxima[block] = max(maxima[block], mine[start + block])
        bounds[:] = best
        promising[:] = -1
        for block in range(blocks):
            if maxima[block] > bounds[k - 1]:
                _insert(maxima[block], block, bounds, promising)
        for place in range(k):
            if promising[place] >= 0:
                for column in range(promising[place], BLOCK * blocks, blocks):
                    if mine[column] >= bounds[k - 1] and mine[column] > best[k - 1]:
                        _insert(mine[column], first + column, best, items)


@compiled_for_numbers
def _insert(score: np.float32, number: int, best: NDArray[np.float32], numbers: NDArray[np.int64]) -> None:
    place = best.shape[0] - 1
    while place > 0 and best[place - 1] < score:
        best[place] = best[place - 1]
        numbers[place] = numbers[place - 1]
        place -= 1
    best[place] = score
    numbers[place] = number
