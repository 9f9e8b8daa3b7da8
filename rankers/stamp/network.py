"""The equations of STAMP: attention over the session's items, led by the last item and the mean of all.

Liu et al., "STAMP: Short-Term Attention/Memory Priority Model for Session-based Recommendation" (KDD 2018).

    m_s = mean(x_1, …, x_t)                         x_j the vector of the j-th clicked item
    α_j = W₀ σ(W₁ x_j + W₂ x_t + W₃ m_s + b)        for j ≤ t; the weights are not normalised
    m_a = Σ_j α_j x_j
    h_s = tanh(W_s m_a + b_s)                       the session
    h_t = tanh(W_t x_t + b_t)                       its last item
    s_i = (h_s ∘ h_t)·x_i                           score of item i; the query is h_s ∘ h_t

Sizes in the shape comments: B sessions, n clicks of each, m queries of each, h hidden units.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from rankers.history.network import HistoryConfig, HistoryNetwork, at_queries, visible
from rankers.recurrent import uniform


class STAMP(HistoryNetwork):
    """The network. `dropout_hidden` drops units of the query."""

    def __init__(self, config: HistoryConfig) -> None:
        super().__init__(config)
        hidden = config.hidden
        self.attend_each = nn.Linear(hidden, hidden, bias=False)  # W₁
        self.attend_last = nn.Linear(hidden, hidden)  # W₂ and b
        self.attend_mean = nn.Linear(hidden, hidden, bias=False)  # W₃
        self.attend = nn.Parameter(uniform(hidden, 1)[:, 0])  # W₀, (h,)
        self.session = nn.Linear(hidden, hidden)  # W_s and b_s
        self.last_item = nn.Linear(hidden, hidden)  # W_t and b_t

    @override
    def queries(
        self,
        inputs: Tensor,
        last: Tensor | None = None,
        *,
        dropout_embedding: float = 0.0,
        dropout_hidden: float = 0.0,
    ) -> Tensor:
        x = functional.dropout(inputs, dropout_embedding)  # (B, n, h)
        seen = visible(x.shape[1], last, x.device).to(x.dtype)  # (B or 1, m, n)
        mean = (seen / seen.sum(dim=2, keepdim=True)) @ x  # (B, m, h), m_s
        newest = at_queries(x, last)  # (B, m, h), x_t
        lead = self.attend_last(newest) + self.attend_mean(mean)  # (B, m, h)
        weights = (torch.sigmoid(self.attend_each(x)[:, None] + lead[:, :, None]) @ self.attend) * seen  # (B, m, n)
        session = torch.tanh(self.session(weights @ x))  # (B, m, h), from m_a
        return functional.dropout(session * torch.tanh(self.last_item(newest)), dropout_hidden)  # (B, m, h)
