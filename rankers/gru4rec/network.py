"""GRU4Rec by its equations: one gated recurrent unit per layer, one score per item.

Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks" (ICLR 2016), with the shared embedding
and the cuDNN form of the candidate state as in Hidasi & Karatzoglou (CIKM 2018).

    r = σ(W_r x + U_r h + b_r)                      reset gate
    z = σ(W_z x + U_z h + b_z)                      update gate
    h̃ = tanh(W_h x + b_h + r∘(U_h h + b'))          candidate, reset after the recurrent product (default)
    h̃ = tanh(W_h x + b_h + U_h(r∘h))                candidate, reset before it (the 2016 paper)
    h' = (1−z)∘h + z∘h̃                              new hidden state, and the layer's output
    s = Wy h' + By                                  one score per item

Sizes in the shape comments: B sessions, L layers, h hidden units, I items.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

Input = Literal["shared", "embedding", "one-hot"]
Reset = Literal["after", "before"]


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of a network: everything that is needed to build it empty.

    Raises:
        ValueError: a size is below 1, or `input` or `reset` is none of the known forms.
    """

    items: int
    hidden: int = 100  # as good as 1000 units once embedding and output are shared, at a tenth of the cost
    layers: int = 1  # more layers have not helped on any published data set
    input: Input = "shared"  # the clicked item's output row: best in every comparison since 2018, half the memory
    reset: Reset = "after"  # one dependent product fewer than "before" (2016 paper), and slightly better

    def __post_init__(self) -> None:
        for name in ("items", "hidden", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: a network needs at least 1")
        for name, known in (("input", get_args(Input)), ("reset", get_args(Reset))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}: choose one of {', '.join(known)}")


class Layer(nn.Module):
    """One GRU layer. Gate blocks lie side by side in every matrix, in the order reset, update, candidate.

    Args:
        width: size d of the input; None where the input arrives as gate values (B, 3h) already (one-hot input).
        hidden: size h of the state.
        reset: where the reset gate acts, see the module's equations.
    """

    def __init__(self, width: int | None, hidden: int, reset: Reset) -> None:
        super().__init__()
        self.reset = reset
        self.input_weight = None if width is None else nn.Parameter(_blocks(width, hidden))  # (d, 3h)
        self.recurrent_weight = nn.Parameter(_blocks(hidden, hidden))  # (h, 3h)
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


class GRU4Rec(nn.Module):
    """The network. Rows of a batch are sessions and do not influence each other.

    Weights are drawn uniformly from ±sqrt(6 / (fan_in + fan_out)), each gate block by itself (the fan-in of an item
    table is the number of items); biases are 0. Use `torch.manual_seed` for a reproducible start.

    Attributes:
        config: the shape it was built with.
        output_weight: Wy, (I, h) float32.
        output_bias: By, (I,) float32.
        input_table: the rows that clicked items are looked up in; `output_weight` itself where the input is shared,
            (I, h) for a separate embedding, (I, 3h) for one-hot input (the product W x, gathered).

    Example:
        >>> network = GRU4Rec(NetworkConfig(items=1000))
        >>> state = network.initial_state(2)                       # (2, 1, 100)
        >>> state = network.step(torch.tensor([7, 42]), state)     # (2, 1, 100)
        >>> network.scores(state[:, -1]).shape
        torch.Size([2, 1000])
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.output_weight = nn.Parameter(_uniform(config.items, config.hidden))  # (I, h)
        self.output_bias = nn.Parameter(torch.zeros(config.items))  # (I,)
        self.embedding: nn.Parameter | None
        if config.input == "shared":
            self.embedding = None
        elif config.input == "embedding":
            self.embedding = nn.Parameter(_uniform(config.items, config.hidden))  # (I, h)
        else:
            self.embedding = nn.Parameter(_blocks(config.items, config.hidden))  # (I, 3h)
        first = None if config.input == "one-hot" else config.hidden
        widths = [first] + [config.hidden] * (config.layers - 1)
        self.layers = nn.ModuleList(Layer(width, config.hidden, config.reset) for width in widths)

    @property
    def input_table(self) -> nn.Parameter:
        """The table whose rows are the input of a clicked item."""
        return self.output_weight if self.embedding is None else self.embedding

    def initial_state(self, batch: int) -> Tensor:
        """Zeros (batch, L, h): the state of a session before its first click."""
        return self.output_weight.new_zeros(batch, self.config.layers, self.config.hidden)

    def step(self, items: Tensor, state: Tensor) -> Tensor:
        """Advance each session by one click, without dropout.

        Args:
            items: (B,) int64, rows of the clicked items.
            state: (B, L, h), from `initial_state` or the step before.

        Returns:
            (B, L, h), the new state; the network's output is its last layer, `[:, -1]`.
        """
        return self.advance(self.input_table[items], state)

    def advance(
        self,
        inputs: Tensor,
        state: Tensor,
        *,
        dropout_input: float = 0.0,
        dropout_hidden: float = 0.0,
        dropout: Callable[[Tensor, float], Tensor] = functional.dropout,
    ) -> Tensor:
        """`step` on rows of `input_table` that were looked up already; training drops units here.

        Dropout is inverted (what stays is scaled up). A dropped layer output is also what the next step starts from.

        Args:
            inputs: (B, d), the clicked items' rows of `input_table`.
            state: (B, L, h).
            dropout_input: probability that a unit of `inputs` is dropped.
            dropout_hidden: probability that a unit of a layer's output is dropped.
            dropout: drops units of (B, …) with a probability.

        Returns:
            (B, L, h), the new state.
        """
        x = dropout(inputs, dropout_input) if dropout_input else inputs  # (B, d)
        outputs = []
        for layer, h in zip(self.layers, state.unbind(1), strict=True):
            x = layer(x, h)  # (B, h)
            if dropout_hidden:
                x = dropout(x, dropout_hidden)  # (B, h)
            outputs.append(x)
        return torch.stack(outputs, dim=1)  # (B, L, h)

    def scores(self, output: Tensor) -> Tensor:
        """Score every item: last layer's state (B, h) to (B, I). Only the order within a row has a meaning."""
        return functional.linear(output, self.output_weight, self.output_bias)  # (B, I)


def _uniform(fan_in: int, fan_out: int) -> Tensor:
    bound = math.sqrt(6 / (fan_in + fan_out))
    return torch.empty(fan_in, fan_out).uniform_(-bound, bound)  # (fan_in, fan_out)


def _blocks(fan_in: int, hidden: int) -> Tensor:
    return torch.cat([_uniform(fan_in, hidden) for _ in range(3)], dim=1)  # (fan_in, 3h)
