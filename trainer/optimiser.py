"""Adagrad with momentum, for dense parameters and for single rows of large tables."""

import torch
from torch import Tensor

EPSILON = 1e-6


class Adagrad:
    """Adagrad (Duchi et al. 2011) with momentum on the scaled step.

        acc += g²        Δ = −lr · g / sqrt(acc + 1e-6)        v = momentum · v + Δ        p += v

    `acc` and `v` start at 0. There is no learning-rate decay. Rows that a step does not touch are neither moved nor
    decayed: their velocity waits until they are touched again.

    Args:
        learning_rate: lr above.
        momentum: in [0, 1); at 0 no velocity is kept.
    """

    def __init__(self, learning_rate: float, momentum: float = 0.0) -> None:
        self.learning_rate = learning_rate
        self.momentum = momentum
        self._state: dict[int, tuple[Tensor, Tensor | None]] = {}

    @torch.no_grad()
    def update(self, parameter: Tensor, gradient: Tensor) -> None:
        """Move a whole parameter; both of one shape."""
        accumulator, velocity = self._state_of(parameter)
        accumulator.addcmul_(gradient, gradient)
        delta = self._scaled(gradient, accumulator)
        if velocity is not None:
            delta = velocity.mul_(self.momentum).add_(delta)
        parameter.add_(delta)

    @torch.no_grad()
    def update_rows(self, table: Tensor, rows: Tensor, gradient: Tensor) -> None:
        """Move some rows of a table.

        Args:
            table: (I, …).
            rows: (U,) int64, each row once: sum the gradients of a row that occurs more often first.
            gradient: (U, …).
        """
        accumulator, velocity = self._state_of(table)
        touched = accumulator.index_select(0, rows).addcmul_(gradient, gradient)  # (U, …)
        accumulator.index_copy_(0, rows, touched)
        delta = self._scaled(gradient, touched)  # (U, …)
        if velocity is not None:
            delta.add_(velocity.index_select(0, rows), alpha=self.momentum)
            velocity.index_copy_(0, rows, delta)
        table.index_add_(0, rows, delta)

    def _scaled(self, gradient: Tensor, accumulator: Tensor) -> Tensor:
        return (accumulator + EPSILON).rsqrt_().mul_(gradient).mul_(-self.learning_rate)

    def _state_of(self, parameter: Tensor) -> tuple[Tensor, Tensor | None]:
        key = id(parameter)
        if key not in self._state:
            velocity = torch.zeros_like(parameter, requires_grad=False) if self.momentum else None
            self._state[key] = torch.zeros_like(parameter, requires_grad=False), velocity
        return self._state[key]
