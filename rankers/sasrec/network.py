"""The equations of SASRec: blocks of causal self-attention over the session's items.

Kang & McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018), with pre-normalisation as in the paper.

    f_j = x_j + p_{t−j}                             x_j the vector of the j-th clicked item, p learned for each distance
                                                    from the end
    f ← f + Attention(LayerNorm(f))                 each block; click j attends to clicks up to j
    f ← f + W₂ relu(W₁ LayerNorm(f) + b₁) + b₂
    s_i = LayerNorm(f_t)·x_i                        score of item i; the query is LayerNorm(f_t)

    Attention: softmax(Q Kᵀ / sqrt(h / heads)) V for each head, with Q, K and V linear; then a linear layer

Sizes in the shape comments: B sessions, n clicks of each, m queries of each, h hidden units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from rankers.history.network import HistoryConfig, HistoryNetwork, at_queries, visible


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

    def forward(self, x: Tensor, last: Tensor | None, dropout: float) -> Tensor:
        """x (B, n, h) to (B, m, h): after every click, or after the last one only."""
        normal = self.attention_norm(x)  # (B, n, h)
        query, key, value = (
            layer(part).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, m or n, h / heads)
            for layer, part in (
                (self.query, at_queries(normal, last)),
                (self.key, normal),
                (self.value, normal),
            )
        )
        likeness = query @ key.transpose(2, 3) / query.shape[3] ** 0.5  # (B, heads, m, n)
        hidden = ~visible(x.shape[1], last, x.device)[:, None]  # (B or 1, 1, m, n)
        weights = likeness.masked_fill(hidden, -torch.inf).softmax(dim=3)
        attended = self.attended((weights @ value).transpose(1, 2).flatten(2))  # (B, m, h)
        after = at_queries(x, last) + functional.dropout(attended, dropout)  # (B, m, h)
        forward = self.outer(functional.relu(self.inner(self.forward_norm(after))))  # (B, m, h)
        return after + functional.dropout(forward, dropout)


class SASRec(HistoryNetwork):
    """The network. `dropout_hidden` drops units of what a block adds; `dropout_embedding` also of the positions."""

    config: SASRecConfig

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__(config)
        self.positions = nn.Parameter(torch.empty(config.window, config.hidden).normal_(std=0.02))  # (window, h)
        self.blocks = nn.ModuleList(Block(config.hidden, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.hidden)

    @override
    def queries(
        self,
        inputs: Tensor,
        last: Tensor | None = None,
        *,
        dropout_embedding: float = 0.0,
        dropout_hidden: float = 0.0,
    ) -> Tensor:
        clicks = torch.arange(inputs.shape[1], device=inputs.device)  # (n,)
        end = len(clicks) - 1 if last is None else last[:, None]
        positions = self.positions[(end - clicks).clamp(min=0)]  # (n, h) or (B, n, h)
        x = functional.dropout(inputs + positions, dropout_embedding)  # (B, n, h)
        *lower, highest = self.blocks
        for block in lower:
            x = block(x, None, dropout_hidden)
        return self.norm(highest(x, last, dropout_hidden))  # type: ignore[no-any-return]
