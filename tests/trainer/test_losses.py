import math

import numpy as np
import pytest
import torch

from trainer.losses import cross_entropy, logq_correction


def naive_cross_entropy(scores: np.ndarray, correction: np.ndarray) -> list[float]:
    losses = []
    for row, values in enumerate(scores - correction):
        losses.append(-math.log(math.exp(values[row]) / sum(math.exp(value) for value in values)))
    return losses


def test_cross_entropy_and_its_gradient() -> None:
    random = np.random.default_rng(0)
    scores, correction = random.normal(size=(3, 8)), random.normal(size=8)
    tensor = torch.tensor(scores, requires_grad=True)
    loss = cross_entropy(tensor, torch.tensor(correction))
    assert loss.tolist() == pytest.approx(naive_cross_entropy(scores, correction))
    loss.sum().backward()
    step = 1e-6
    for place in np.ndindex(scores.shape):
        moved = [scores.copy(), scores.copy()]
        moved[0][place] -= step
        moved[1][place] += step
        low, high = (sum(naive_cross_entropy(values, correction)) for values in moved)
        assert tensor.grad is not None
        assert tensor.grad[place].item() == pytest.approx((high - low) / (2 * step), abs=1e-7)
    assert cross_entropy(tensor).tolist() == pytest.approx(naive_cross_entropy(scores, np.zeros(8)))


def test_cross_entropy_of_huge_scores_is_finite() -> None:
    assert cross_entropy(torch.tensor([[1e4, -1e4], [1e4, -1e4]])).tolist() == [0, 2e4]


def test_correction_differs_between_targets_and_samples() -> None:
    support = torch.tensor([10.0, 20.0, 10.0, 40.0], dtype=torch.float64)
    expected = [0.5 * math.log(10), 0.5 * math.log(20), 0.5 * math.log(10**0.75), 0.5 * math.log(40**0.75)]
    assert logq_correction(support, targets=2, logq=0.5, alpha=0.75).tolist() == pytest.approx(expected)
