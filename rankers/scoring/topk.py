"""The best k of many scores, found by searching only the blocks that can hold them.

A plain top-k over all items costs more than the matrix product that made the scores. Taking the maximum of each block
of items first is one pass over memory. The k best items are in the k blocks with the highest maxima, so only those
blocks are searched. The result is exact.

The columns of a block are not adjacent: with N/BLOCK blocks, block i has the columns i, i + N/BLOCK, …, so that the
maxima of neighbouring blocks are computed together in vector registers.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankers.compiled import compiled_for_numbers, compiled_into_callers

BLOCK = 16
"""Columns in a block of `block_top_k`: 16 and 32 were equally fast, 8 and 64 slower (`benchmarks/topk.py`)."""

ITEMS = 8
"""Items in a block of the CPU's functions. 4 was equally fast; 16 was slower: all items of a block are scored."""

NOTHING = np.float32(-3.0e38)
"""Below every score; marks a place without an item."""


def block_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row, best first, on any device.

    Args:
        scores: (B, N) float, N a multiple of BLOCK; pad with -inf.
        k: number of columns, at most N.

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
def block_maxima(
    scores: NDArray[np.float32], slack: NDArray[np.float32], first: int, bounds: NDArray[np.float32]
) -> None:
    """Upper bounds of the scores in each block, from approximate scores.

    Args:
        scores: (B, n) float32, n a multiple of ITEMS.
        slack: (B,), largest error of the scores; it is added.
        first: number of the first of these blocks.
        bounds: (B, blocks) float32, for all items; n / ITEMS columns from `first` on are written.
    """
    blocks = scores.shape[1] // ITEMS
    for row in range(scores.shape[0]):
        mine, more, above = scores[row], slack[row], bounds[row, first : first + blocks]
        for block in range(blocks):
            highest = mine[block]
            for place in range(1, ITEMS):
                highest = max(highest, mine[block + place * blocks])
            above[block] = highest + more


@compiled_for_numbers
def quantised_block_maxima(
    products: NDArray[np.int32],
    scales: NDArray[np.float32],
    slack: NDArray[np.float32],
    item_scales: NDArray[np.float32],
    biases: NDArray[np.float32],
    first: int,
    bounds: NDArray[np.float32],
) -> None:
    """`block_maxima` for integer products: a bound is (product · scale + slack) · item scale + bias.

    Args:
        products: (B, n) int32, n a multiple of ITEMS.
        scales: (B,).
        slack: (B,), largest error of product · scale.
        item_scales: (n,).
        biases: (n,).
        first: number of the first of these blocks.
        bounds: (B, blocks) float32, for all items; n / ITEMS columns from `first` on are written.
    """
    blocks = products.shape[1] // ITEMS
    for row in range(products.shape[0]):
        mine, above = products[row], bounds[row, first : first + blocks]
        scale, more = scales[row], slack[row]
        for block in range(blocks):
            highest = (np.float32(mine[block]) * scale + more) * item_scales[block] + biases[block]
            for place in range(1, ITEMS):
                at = block + place * blocks
                highest = max(highest, (np.float32(mine[at]) * scale + more) * item_scales[at] + biases[at])
            above[block] = highest


@compiled_for_numbers
def best_of_blocks(
    bounds: NDArray[np.float32],
    output: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    values: NDArray[np.float32],
    items: NDArray[np.int64],
) -> None:
    """The k best items of each session. Only blocks whose bound reaches the k-th best score so far are scored.

    Equal scores are ordered by item number, so the answer does not depend on the bounds or on the other rows.

    Args:
        bounds: (B, blocks), upper bounds of the scores in a block; block i begins with item ITEMS · i. Overwritten.
        output: (B, h) float32.
        weight: (I, h) float32.
        bias: (I,) float32.
        values: (B, k) float32, k at most I, written.
        items: (B, k) int64, written.
    """
    k = values.shape[1]
    highest = np.empty(k, dtype=np.float32)
    promising = np.empty(k, dtype=np.int64)
    values[:] = NOTHING
    items[:] = 0
    for row in range(bounds.shape[0]):
        mine, state, best, numbers = bounds[row], output[row], values[row], items[row]
        highest[:] = NOTHING
        promising[:] = -1
        for block in range(mine.shape[0]):
            if mine[block] > highest[k - 1]:
                insert(mine[block], block, highest, promising)
        for place in range(k):  # highest bounds first: then few other blocks reach the k-th best score
            block = promising[place]
            if block >= 0 and highest[place] >= best[k - 1]:
                _search(block, state, weight, bias, best, numbers)
                mine[block] = NOTHING
        for other in range(mine.shape[0]):
            if mine[other] >= best[k - 1]:
                _search(other, state, weight, bias, best, numbers)


@compiled_for_numbers
def _search(
    block: int,
    state: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    best: NDArray[np.float32],
    numbers: NDArray[np.int64],
) -> None:
    first, last = block * ITEMS, best.shape[0] - 1
    rows, scores = weight[first : first + ITEMS], np.empty(ITEMS, dtype=np.float32)
    for place in range(rows.shape[0]):
        scores[place] = score_of(state, rows[place], bias[first + place])
    for place in range(rows.shape[0]):
        score, item = scores[place], first + place
        if score > best[last] or (score == best[last] and item < numbers[last]):
            insert(score, item, best, numbers)


@compiled_into_callers
def score_of(state: NDArray[np.float32], weight: NDArray[np.float32], bias: np.float32) -> np.float32:
    """The score of one item: its row of the weights (h,) and its bias, for a session's output (h,)."""
    score = bias
    for unit in range(state.shape[0]):
        score += state[unit] * weight[unit]
    return score


@compiled_for_numbers
def insert(score: np.floating, number: int, best: NDArray[np.floating], numbers: NDArray[np.int64]) -> None:
    """Insert a score and its number into lists (k,) in place of the last; equal scores are ordered by number."""
    place = best.shape[0] - 1
    while place > 0 and (best[place - 1] < score or (best[place - 1] == score and numbers[place - 1] > number)):
        best[place] = best[place - 1]
        numbers[place] = numbers[place - 1]
        place -= 1
    best[place] = score
    numbers[place] = number
