"""The best k of many scores, without sorting what cannot be among them.

A plain top-k over all items costs more than the matrix product that made the scores. Taking the maximum of each block
of items first is one pass over memory; the k best items lie in the k blocks with the highest maxima, so only those
k · BLOCK scores are searched. Exact.
"""

import torch
from torch import Tensor

BLOCK = 32
"""Items in a block; 32 and 64 measured alike, 16 and 128 slower (`benchmarks/topk.py`)."""


def padded_items(items: int) -> int:
    """The next multiple of BLOCK: how many score columns `block_top_k` wants for so many items."""
    return -(-items // BLOCK) * BLOCK


def block_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row, best first.

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
    grouped = scores.view(rows, blocks, BLOCK)  # (B, blocks, BLOCK)
    best_blocks = torch.topk(grouped.amax(dim=2), k, sorted=False).indices  # (B, k)
    candidates = grouped.gather(1, best_blocks.unsqueeze(2).expand(rows, k, BLOCK))  # (B, k, BLOCK)
    values, places = torch.topk(candidates.view(rows, k * BLOCK), k)  # (B, k) each
    block = best_blocks.gather(1, places // BLOCK)  # (B, k)
    return values, block * BLOCK + places % BLOCK
