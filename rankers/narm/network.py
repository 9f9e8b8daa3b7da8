"""The equations of NARM: a recurrent network whose output also attends to the session's earlier states.

Li et al., "Neural Attentive Session-based Recommendation" (CIKM 2017).

    h_1, …, h_t = GRU(x_1, …, x_t)                  x_j the vector of the j-th clicked item
    α_j = vᵀ σ(A₁ h_t + A₂ h_j)                     for j ≤ t; the weights are not normalised
    c = [h_t; Σ_j α_j h_j]                          global and local encoder
    s_i = e_iᵀ B c                                  score of item i; the query is B c

The GRU's candidate state is in cuDNN's form, as `torch.nn.GRU` computes it.

Sizes in the shape comments: B sessions, n clicks of each, m queries of each, h hidden units.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from rankers.history.network import HistoryConfig, HistoryNetwork, at_queries, visible
from rankers.recurrent import uniform


class NARM(HistoryNetwork):
    """The network. `dropout_hidden` drops units of [global; local]."""

    def __init__(self, config: HistoryConfig) -> None:
        super().__init__(config)
        hidden = config.hidden
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.attend_last = nn.Linear(hidden, hidden, bias=False)  # A₁
        self.attend_each = nn.Linear(hidden, hidden, bias=False)  # A₂
        self.attend = nn.Parameter(uniform(hidden, 1)[:, 0])  # v, (h,)
        self.output = nn.Linear(2 * hidden, hidden, bias=False)  # B
        self._draw_weights()

    @torch.no_grad()
    def _draw_weights(self) -> None:
        """Like those of GRU4Rec, with biases of 0: torch's own are smaller, and with them the network learns slowly."""
        for weight in self.gru.parameters():  # (3h, h) or (3h,), three gates
            for gate in weight.chunk(3):
                if gate.dim() == 2:
                    gate.copy_(uniform(*gate.shape))
                else:
                    gate.zero_()
        for layer in (self.attend_last, self.attend_each, self.output):
            nn.init.xavier_uniform_(layer.weight)

    @override
    def queries(
        self,
        inputs: Tensor,
        last: Tensor | None = None,
        *,
        dropout_embedding: float = 0.0,
        dropout_hidden: float = 0.0,
    ) -> Tensor:
        states, _ = self.gru(functional.dropout(inputs, dropout_embedding))  # (B, n, h)
        whole = at_queries(states, last)  # (B, m, h)
        agreement = torch.sigmoid(self.attend_last(whole)[:, :, None] + self.attend_each(states)[:, None])
        weights = (agreement @ self.attend) * visible(states.shape[1], last, states.device)  # (B, m, n)
        encoded = torch.cat([whole, weights @ states], dim=2)  # (B, m, 2h)
        return self.output(functional.dropout(encoded, dropout_hidden))  # type: ignore[no-any-return]
