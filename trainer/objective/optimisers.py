"""Optimisers for dense parameters and for single rows of large tables.

    Adagrad   acc += g²                          Δ = −lr · g / sqrt(acc + 1e-6)
    RMSProp   acc = .9·acc + .1·g²               Δ = −lr · g / sqrt(acc + 1e-6)
              both with momentum:                v = momentum · v + Δ        p += v
    Adam      m = .9·m + .1·g    v = .999·v + .001·g²                        p −= lr · m̂ / (sqrt(v̂) + 1e-8)
              m̂ = m / (1 − .9ᵗ)  v̂ = v / (1 − .999ᵗ)

All state starts at 0, and there is no learning-rate decay. A step neither updates nor decays rows that it does not
use. Therefore Adam's t is the number of updates of the row; if it were the number of steps, a rare item's first updates
would be far too small.

Duchi et al. 2011; Tieleman & Hinton 2012; Kingma & Ba, ICLR 2015.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from typing_extensions import override

from trainer.config import FitConfig

EPSILON = 1e-6
RMSPROP_DECAY = 0.9
ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


class Optimiser(Protocol):
    """Updates parameters by their gradients.

    Attributes:
        state: accumulators, velocities and so on by name, for a checkpoint; set it to resume from one.
    """

    state: dict[str, Tensor]

    def update(self, name: str, parameter: Tensor, gradient: Tensor) -> None:
        """Update a whole parameter; parameter and gradient have one shape, and `name` is the key of their state."""

    def update_rows(self, name: str, table: Tensor, rows: Tensor, gradient: Tensor) -> None:
        """Update some rows of a table.

        Args:
            name: the key of the table's state.
            table: (I, …).
            rows: (U,) int64, each row once; the caller sums the gradients of a row that occurs several times.
            gradient: (U, …).
        """


def optimiser_of(config: FitConfig) -> Optimiser:
    """The configured optimiser."""
    if config.optimizer == "adam":
        return Adam(config.learning_rate)
    decay = RMSPROP_DECAY if config.optimizer == "rmsprop" else None
    return ScaledMomentum(config.learning_rate, config.momentum, decay)


class _WithState(Optimiser):
    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}

    def _of(self, kind: str, name: str, like: Tensor) -> Tensor:
        key = f"{kind}.{name}"
        if key not in self.state:
            self.state[key] = torch.zeros_like(like, requires_grad=False)
        return self.state[key]


class ScaledMomentum(_WithState):
    """Adagrad, or RMSProp if a decay is given, with momentum on the scaled step; see the module's formulas.

    Args:
        learning_rate: lr in the formulas.
        momentum: in [0, 1); at 0 no velocity is kept.
        decay: of the accumulated squared gradients; None for Adagrad, which sums them without decay.
    """

    def __init__(self, learning_rate: float, momentum: float = 0.0, decay: float | None = None) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.decay = decay

    @torch.no_grad()
    @override
    def update(self, name: str, parameter: Tensor, gradient: Tensor) -> None:
        accumulator = self._accumulate(self._of("accumulator", name, parameter), gradient)
        delta = self._scaled(gradient, accumulator)
        if self.momentum:
            delta = self._of("velocity", name, parameter).mul_(self.momentum).add_(delta)
        parameter.add_(delta)

    @torch.no_grad()
    @override
    def update_rows(self, name: str, table: Tensor, rows: Tensor, gradient: Tensor) -> None:
        accumulator = self._of("accumulator", name, table)
        touched = self._accumulate(accumulator.index_select(0, rows), gradient)  # (U, …)
        accumulator.index_copy_(0, rows, touched)
        delta = self._scaled(gradient, touched)  # (U, …)
        if self.momentum:
            velocity = self._of("velocity", name, table)
            delta.add_(velocity.index_select(0, rows), alpha=self.momentum)
            velocity.index_copy_(0, rows, delta)
        table.index_add_(0, rows, delta)

    def _accumulate(self, accumulator: Tensor, gradient: Tensor) -> Tensor:
        if self.decay is None:
            return accumulator.addcmul_(gradient, gradient)
        return accumulator.mul_(self.decay).addcmul_(gradient, gradient, value=1 - self.decay)

    def _scaled(self, gradient: Tensor, accumulator: Tensor) -> Tensor:
        return (accumulator + EPSILON).rsqrt_().mul_(gradient).mul_(-self.learning_rate)


class Adam(_WithState):
    """Adam, with bias corrections by each row's number of updates; see the module's formulas."""

    def __init__(self, learning_rate: float) -> None:
        super().__init__()
        self.learning_rate = learning_rate

    @torch.no_grad()
    @override
    def update(self, name: str, parameter: Tensor, gradient: Tensor) -> None:
        first, second = self._of("first", name, parameter), self._of("second", name, parameter)
        times = self._times(name, (), parameter.device).add_(1)
        parameter.add_(self._step(first, second, times, gradient))

    @torch.no_grad()
    @override
    def update_rows(self, name: str, table: Tensor, rows: Tensor, gradient: Tensor) -> None:
        first, second = self._of("first", name, table), self._of("second", name, table)
        times = self._times(name, (len(table),), table.device)
        updates = times.index_select(0, rows).add_(1)  # (U,)
        moments = first.index_select(0, rows), second.index_select(0, rows)  # (U, …) each
        of_row = updates.view(-1, *[1] * (table.dim() - 1))  # (U, 1, …)
        table.index_add_(0, rows, self._step(*moments, of_row, gradient))
        for kept, now in zip((first, second, times), (*moments, updates), strict=True):
            kept.index_copy_(0, rows, now)

    def _times(self, name: str, shape: Sequence[int], device: torch.device) -> Tensor:
        """Number of updates so far, float64."""
        key = f"times.{name}"
        if key not in self.state:
            self.state[key] = torch.zeros(shape, dtype=torch.float64, device=device)
        return self.state[key]

    def _step(self, first: Tensor, second: Tensor, times: Tensor, gradient: Tensor) -> Tensor:
        """Update the moments in place; returns the change of the parameter."""
        a, b = ADAM_BETAS
        first.mul_(a).add_(gradient, alpha=1 - a)
        second.mul_(b).addcmul_(gradient, gradient, value=1 - b)
        mean = first / (1 - a**times).to(first.dtype)
        size = (second / (1 - b**times).to(second.dtype)).sqrt_().add_(ADAM_EPSILON)
        return mean.div_(size).mul_(-self.learning_rate)
