"""Recurrent networks over items: the interface that training uses, independent of the kind of layer.

Sizes in the shape comments: B sessions, L layers, h hidden units, d input units, I items.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

Input = Literal["shared", "embedding", "one-hot"]
Reset = Literal["after", "before"]


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of a recurrent network: everything needed to build it untrained.

    Raises:
        ValueError: a size is below 1, or `input` or `reset` is unknown.
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


class RecurrentNetwork(nn.Module):
    """Item tables around recurrent layers. Rows of a batch are sessions and do not influence each other.

    Weights are drawn uniformly from ±sqrt(6 / (fan_in + fan_out)), each gate block separately (the fan-in of an
    item table is the number of items); biases are 0. Use `torch.manual_seed` for reproducible weights.

    Attributes:
        item_tables: names of the parameters with one row per item.
        cell: kind of the layers, such as `gru`; a backend that knows its equations asks for it.
        config: the network's shape.
        output_weight: Wy, (I, h) float32.
        output_bias: By, (I,) float32.
        embedding: rows of clicked items, (I, h) or (I, 3h); None where the input is shared.
        layers: the recurrent layers.
    """

    item_tables: ClassVar[tuple[str, ...]] = ("output_weight", "output_bias", "embedding")
    cell: ClassVar[str]
    embedding: nn.Parameter | None
    layers: nn.ModuleList

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.output_weight = nn.Parameter(uniform(config.items, config.hidden))  # (I, h)
        self.output_bias = nn.Parameter(torch.zeros(config.items))  # (I,)

    @property
    def input_table(self) -> nn.Parameter:
        """The table with the input rows of clicked items: `output_weight` where the input is shared."""
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

    @abstractmethod
    def advance(
        self,
        inputs: Tensor,
        state: Tensor,
        *,
        dropout_input: float = 0.0,
        dropout_hidden: float = 0.0,
        dropout: Callable[[Tensor, float], Tensor] = functional.dropout,
    ) -> Tensor:
        """`step` on given rows of `input_table`, with dropout for training.

        Dropout is inverted (the kept units are scaled up). The new state has the dropped units too: the next step
        starts from it.

        Args:
            inputs: (B, d), the clicked items' rows of `input_table`.
            state: (B, L, h).
            dropout_input: probability that a unit of `inputs` is dropped.
            dropout_hidden: probability that a unit of a layer's output is dropped.
            dropout: function of a tensor (B, …) and a probability that drops units.

        Returns:
            (B, L, h), the new state.
        """

    def scores(self, output: Tensor) -> Tensor:
        """Score every item: last layer's state (B, h) to (B, I). Only the order within a row is meaningful."""
        return functional.linear(output, self.output_weight, self.output_bias)  # (B, I)


def uniform(fan_in: int, fan_out: int) -> Tensor:
    """(fan_in, fan_out), uniform in ±sqrt(6 / (fan_in + fan_out))."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    return torch.empty(fan_in, fan_out).uniform_(-bound, bound)  # (fan_in, fan_out)


def gate_blocks(fan_in: int, hidden: int) -> Tensor:
    """(fan_in, 3 · hidden): three gates side by side, each drawn separately."""
    gates = torch.empty(fan_in, 3 * hidden)
    for gate in gates.chunk(3, dim=1):
        gate.copy_(uniform(fan_in, hidden))
    return gates  # (fan_in, 3h)
