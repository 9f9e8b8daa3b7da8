"""The equations of SASRec: blocks of causal self-attention over the session's items.

Kang & McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018), with the normalisation before each part as in
the paper.

    f_j = sqrt(h) x_j                               x_j the vector of the j-th clicked item
    g_j = LayerNorm(f_j)                            each block; click t attends to the clicks j ≤ t:
    f_t ← f_t + W_O Σ_j a_tj V (g_j + p_{t−j})      for each head: a_t = softmax_j(Q g_t · K (g_j + p_{t−j}) / sqrt(d))
    f_t ← f_t + W₂ relu(W₁ LayerNorm(f_t) + b₁) + b₂
    s_i = LayerNorm(f_t)·x_i                        score of item i; the query is LayerNorm(f_t)

The learned positions p are relative, in keys and values as in Shaw et al., "Self-Attention with Relative Position
Representations" (NAACL 2018), but here K and V project them too, and clicks after t have none. In the SASRec paper
positions count from the end of the whole sequence and are added to f_j. This network departs from it because one pass
over a session would then train its earlier clicks with positions that they never have in serving, where each click is
the last one when it is answered. The factor sqrt(h) is in the authors' code: item vectors are small at first, and what
the blocks add would hide them.

Sizes in the shape comments: B sessions, n clicks of each, m queries of each, h hidden units, d = h / heads.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from rankers.history.network import HistoryConfig, HistoryNetwork, at_queries, distances, visible


@dataclass(frozen=True)
class SASRecConfig(HistoryConfig):
    """The shape of a SASRec network.

    Raises:
        ValueError: a size is below 1, or the hidden units cannot be divided among the heads.
    """

    layers: int = 1
    heads: int = 1

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % self.heads:
            raise ValueError(f"hidden is {self.hidden}, which {self.heads} heads do not divide: choose a multiple")


class Block(nn.Module):
    """One block: attention, then a feed-forward network of the same width."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.forward_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))
        self.attended = nn.Linear(hidden, hidden)
        self.inner, self.outer = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, positions: Tensor, last: Tensor | None, dropout: float) -> Tensor:
        """x (B, n, h) to (B, m, h): after every click, or after the last one only; positions (n, h)."""
        normal = self.attention_norm(x)  # (B, n, h)
        query = self._heads(self.query(at_queries(normal, last)))  # (B, heads, m, d)
        key, value = self._heads(self.key(normal)), self._heads(self.value(normal))  # (B, heads, n, d)
        place = functional.linear(positions, self.key.weight), functional.linear(positions, self.value.weight)
        key_place, value_place = (self._heads(part[None]) for part in place)  # (1, heads, n, d)

        seen = visible(x.shape[1], last, x.device)[:, None]  # (B or 1, 1, m, n)
        back = distances(x.shape[1], last, x.device)[:, None].expand(*query.shape[:3], -1)  # (B, heads, m, n)
        likeness = query @ key.mT + (query @ key_place.mT).gather(3, back)  # (B, heads, m, n)
        weights = (likeness / query.shape[3] ** 0.5).masked_fill(~seen, -torch.inf).softmax(dim=3)
        by_distance = weights.gather(3, back) * seen  # click t − k is k clicks back, and the other way round
        attended = weights @ value + by_distance @ value_place  # (B, heads, m, d)
        joined = self.attended(attended.transpose(1, 2).flatten(2))  # (B, m, h)
        after = at_queries(x, last) + functional.dropout(joined, dropout)  # (B, m, h)
        forward = self.outer(functional.relu(self.inner(self.forward_norm(after))))  # (B, m, h)
        return after + functional.dropout(forward, dropout)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, n, h) to (B, heads, n, d)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class SASRec(HistoryNetwork):
    """The network. `dropout_hidden` drops units of what a block adds."""

    config: SASRecConfig

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__(config)
        self.positions = nn.Parameter(_normal(config.window, config.hidden))  # (window, h)
        self.blocks = nn.ModuleList(Block(config.hidden, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.hidden)

    @property
    @override
    def attention_width(self) -> int:
        return self.config.heads

    @override
    def queries(
        self,
        inputs: Tensor,
        last: Tensor | None = None,
        *,
        dropout_embedding: float = 0.0,
        dropout_hidden: float = 0.0,
    ) -> Tensor:
        x = functional.dropout(inputs * self.config.hidden**0.5, dropout_embedding)  # (B, n, h)
        positions = self.positions[: inputs.shape[1]]  # (n, h)
        *lower, highest = self.blocks
        for block in lower:
            x = block(x, positions, None, dropout_hidden)
        return self.norm(highest(x, positions, last, dropout_hidden))  # type: ignore[no-any-return]


def _normal(rows: int, columns: int) -> Tensor:
    """(rows, columns), normal with a standard deviation of .02; without numbers on the meta device."""
    values = torch.empty(rows, columns)
    return values if values.is_meta else values.normal_().mul_(0.02)  # on the meta device, normal_ imports sympy
