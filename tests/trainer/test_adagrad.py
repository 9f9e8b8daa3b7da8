import numpy as np
import pytest
import torch

from trainer.optimiser import Adagrad


def naive(p: np.ndarray, gradients: list[np.ndarray], rate: float, momentum: float) -> np.ndarray:
    """The update rule number by number; a gradient of NaN marks a number that the step does not touch."""
    p = p.copy()
    accumulated, velocity = np.zeros_like(p), np.zeros_like(p)
    for gradient in gradients:
        for place in np.ndindex(p.shape):
            g = gradient[place]
            if np.isnan(g):
                continue
            accumulated[place] += g * g
            velocity[place] = momentum * velocity[place] - rate * g / np.sqrt(accumulated[place] + 1e-6)
            p[place] += velocity[place]
    return p


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_dense_updates(momentum: float) -> None:
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=(3, 4)), list(random.normal(size=(6, 3, 4)))
    parameter, optimiser = torch.tensor(start), Adagrad(0.1, momentum)
    for gradient in gradients:
        optimiser.update(parameter, torch.tensor(gradient))
    np.testing.assert_allclose(parameter.numpy(), naive(start, gradients, 0.1, momentum), rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("width", [(), (4,)])
def test_rows_that_are_not_touched_neither_move_nor_decay(momentum: float, width: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    start = random.normal(size=(7, *width))
    table, optimiser = torch.tensor(start), Adagrad(0.1, momentum)
    gradients = []
    for _ in range(8):
        rows = random.choice(6, 3, replace=False)  # row 6 is never touched
        gradient = np.full((7, *width), np.nan)
        gradient[rows] = random.normal(size=(3, *width))
        gradients.append(gradient)
        optimiser.update_rows(table, torch.tensor(rows), torch.tensor(gradient[rows]))
    np.testing.assert_allclose(table.numpy(), naive(start, gradients, 0.1, momentum), rtol=1e-12)
    assert (table[6].numpy() == start[6]).all()
