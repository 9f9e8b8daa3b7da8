from dataclasses import replace

import numpy as np
import pytest
import torch

from trainer.config import FitConfig
from trainer.objective.optimisers import optimiser_of

RATE = 0.1


class Number:
    """One number of a parameter, and its update by each optimiser's formula."""

    def __init__(self, start: float) -> None:
        self.p = start
        self.acc = self.v = self.m = self.s = 0.0
        self.t = 0

    def move(self, g: float, optimizer: str, momentum: float) -> None:
        if optimizer == "adam":
            self.t += 1
            self.m = 0.9 * self.m + 0.1 * g
            self.s = 0.999 * self.s + 0.001 * g * g
            self.p -= RATE * (self.m / (1 - 0.9**self.t)) / ((self.s / (1 - 0.999**self.t)) ** 0.5 + 1e-8)
            return
        self.acc = self.acc + g * g if optimizer == "adagrad" else 0.9 * self.acc + 0.1 * g * g
        self.v = momentum * self.v - RATE * g / (self.acc + 1e-6) ** 0.5
        self.p += self.v


def naive(start: np.ndarray, gradients: list[np.ndarray], optimizer: str, momentum: float) -> np.ndarray:
    """Number by number; a gradient of NaN marks a number that the step does not update."""
    numbers = [Number(value) for value in start.ravel()]
    for gradient in gradients:
        for number, g in zip(numbers, gradient.ravel(), strict=True):
            if not np.isnan(g):
                number.move(g, optimizer, momentum)
    return np.array([number.p for number in numbers]).reshape(start.shape)


CASES = [("adagrad", 0.0), ("adagrad", 0.6), ("rmsprop", 0.0), ("rmsprop", 0.6), ("adam", 0.0)]


@pytest.mark.parametrize(("optimizer", "momentum"), CASES)
def test_dense_updates(optimizer: str, momentum: float) -> None:
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=(3, 4)), list(random.normal(size=(6, 3, 4)))
    moved = optimiser_of(replace(FitConfig(), optimizer=optimizer, momentum=momentum, learning_rate=RATE))
    parameter = torch.tensor(start)
    for gradient in gradients:
        moved.update("p", parameter, torch.tensor(gradient))
    np.testing.assert_allclose(parameter.numpy(), naive(start, gradients, optimizer, momentum), rtol=1e-10)


@pytest.mark.parametrize(("optimizer", "momentum"), CASES)
@pytest.mark.parametrize("width", [(), (4,)])
def test_rows_that_are_not_touched_neither_move_nor_decay(
    optimizer: str, momentum: float, width: tuple[int, ...]
) -> None:
    random = np.random.default_rng(0)
    start = random.normal(size=(7, *width))
    moved = optimiser_of(replace(FitConfig(), optimizer=optimizer, momentum=momentum, learning_rate=RATE))
    table = torch.tensor(start)
    gradients = []
    for _ in range(8):
        rows = random.choice(6, 3, replace=False)  # row 6 is never updated
        gradient = np.full((7, *width), np.nan)
        gradient[rows] = random.normal(size=(3, *width))
        gradients.append(gradient)
        moved.update_rows("table", table, torch.tensor(rows), torch.tensor(gradient[rows]))
    np.testing.assert_allclose(table.numpy(), naive(start, gradients, optimizer, momentum), rtol=1e-10)
    assert (table[6].numpy() == start[6]).all()


def test_adam_s_first_update_of_a_rare_row_is_as_large_as_any_first_update() -> None:
    moved = optimiser_of(replace(FitConfig(), optimizer="adam", learning_rate=RATE))
    table = torch.zeros(2, 1, dtype=torch.float64)
    for _ in range(100):
        moved.update_rows("table", table, torch.tensor([0]), torch.ones(1, 1, dtype=torch.float64))
    moved.update_rows("table", table, torch.tensor([1]), torch.ones(1, 1, dtype=torch.float64))
    assert table[1].item() == pytest.approx(-RATE)
