"""The equations of GRU4Rec: one gated recurrent unit per layer, one score per item.

Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks" (ICLR 2016), with the shared embedding
and the candidate state in cuDNN's form as in Hidasi & Karatzoglou (CIKM 2018).

    r = σ(W_r x + U_r h + b_r)                      reset gate
    z = σ(W_z x + U_z h + b_z)                      update gate
    h̃ = tanh(W_h x + b_h + r∘(U_h h + b'))          candidate, reset after the recurrent product (default)
    h̃ = tanh(W_h x + b_h + U_h(r∘h))                candidate, reset before it (the 2016 paper)
    h' = (1−z)∘h + z∘h̃                              new hidden state, and the layer's output
    s = Wy h' + By                                  one score per item

Sizes in the shape comments: B sessions, L layers, h hidden units, I items.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from rankers.recurrent import NetworkConfig, RecurrentNetwork, Reset, gate_blocks, uniform


class Layer(nn.Module):
    """One GRU layer. Every matrix holds the gate blocks side by side: reset, update, candidate.

    Args:
        width: size d of the input; None where the input is already the gate values (B, 3h) (one-hot input).
        hidden: size h of the state.
        reset: whether the reset gate acts before or after the recurrent product, see the equations above.
    """

    def __init__(self, width: int | None, hidden: int, reset: Reset) -> None:
        super().__init__()
        self.reset = reset
        self.input_weight = None if width is None else nn.Parameter(gate_blocks(width, hidden))  # (d, 3h)
        self.recurrent_weight = nn.Parameter(gate_blocks(hidden, hidden))  # (h, 3h)
        self.bias = nn.Parameter(torch.zeros(3 * hidden))  # (3h,)
        self.candidate_bias = nn.Parameter(torch.zeros(hidden)) if reset == "after" else None  # (h,)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """One step: input (B, d) and state (B, h) to the new state (B, h)."""
        size = h.shape[1]
        product = x if self.input_weight is None else x @ self.input_weight  # (B, 3h)
        wx = product + self.bias  # (B, 3h)
        if self.candidate_bias is not None:
            uh = h @ self.recurrent_weight  # (B, 3h)
            gates = torch.sigmoid(wx[:, : 2 * size] + uh[:, : 2 * size])  # (B, 2h)
            r, z = gates[:, :size], gates[:, size:]  # (B, h) each
            recurrent = r * (uh[:, 2 * size :] + self.candidate_bias)  # (B, h)
        else:
            uh = h @ self.recurrent_weight[:, : 2 * size]  # (B, 2h)
            gates = torch.sigmoid(wx[:, : 2 * size] + uh)  # (B, 2h)
            r, z = gates[:, :size], gates[:, size:]  # (B, h) each
            recurrent = (r * h) @ self.recurrent_weight[:, 2 * size :]  # (B, h)
        candidate = torch.tanh(wx[:, 2 * size :] + recurrent)  # (B, h)
        return torch.lerp(h, candidate, z)  # (B, h), (1−z)∘h + z∘h̃


class GRU4Rec(RecurrentNetwork):
    """The network. `input` of the config says what a clicked item's input is:

        shared      its row of the output weights (I, h)
        embedding   its row of a separate embedding (I, h)
        one-hot     its column of W, kept as a row of a table (I, 3h): the product of W with a one-hot vector

    Example:
        >>> network = GRU4Rec(NetworkConfig(items=1000))
        >>> state = network.initial_state(2)                       # (2, 1, 100)
        >>> state = network.step(torch.tensor([7, 42]), state)     # (2, 1, 100)
        >>> network.scores(state[:, -1]).shape
        torch.Size([2, 1000])
    """

    cell = "gru"

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        if config.input == "shared":
            self.embedding = None
        elif config.input == "embedding":
            self.embedding = nn.Parameter(uniform(config.items, config.hidden))  # (I, h)
        else:
            self.embedding = nn.Parameter(gate_blocks(config.items, config.hidden))  # (I, 3h)
        first = None if config.input == "one-hot" else config.hidden
        widths = [first] + [config.hidden] * (config.layers - 1)
        self.layers = nn.ModuleList(Layer(width, config.hidden, config.reset) for width in widths)

    @override
    def advance(
        self,
        inputs: Tensor,
        state: Tensor,
        *,
        dropout_input: float = 0.0,
        dropout_hidden: float = 0.0,
        dropout: Callable[[Tensor, float], Tensor] = functional.dropout,
    ) -> Tensor:
        x = dropout(inputs, dropout_input) if dropout_input else inputs  # (B, d)
        outputs = []
        for layer, h in zip(self.layers, state.unbind(1), strict=True):
            x = layer(x, h)  # (B, h)
            if dropout_hidden:
                x = dropout(x, dropout_hidden)  # (B, h)
            outputs.append(x)
        return torch.stack(outputs, dim=1)  # (B, L, h)
