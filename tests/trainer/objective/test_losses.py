import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from trainer.config import FitConfig
from trainer.objective.losses import (
    bpr_max,
    cross_entropy,
    logq_correction,
    loss_of,
    pairwise_loss,
    top_cross_entropy,
)

Naive = Callable[[list[float], int], float]


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def naive_cross_entropy(r: list[float], i: int) -> float:
    return -math.log(math.exp(r[i]) / sum(math.exp(value) for value in r))


def naive_bpr(r: list[float], i: int) -> float:
    return sum(-math.log(sigma(r[i] - r_j)) for r_j in r) / len(r)


def naive_top1(r: list[float], i: int) -> float:
    return sum(sigma(r_j - r[i]) + sigma(r_j**2) for r_j in r) / len(r) - sigma(r[i] ** 2) / len(r)


def weights(r: list[float], i: int) -> list[float]:
    total = sum(math.exp(r_j) for j, r_j in enumerate(r) if j != i)
    return [math.exp(r_j) / total if j != i else 0.0 for j, r_j in enumerate(r)]


def naive_bpr_max(r: list[float], i: int, bpreg: float, elu: float) -> float:
    r = [r_j if r_j > 0 or not elu else elu * (math.exp(r_j) - 1) for r_j in r]
    s = weights(r, i)
    ranking = -math.log(sum(s_j * sigma(r[i] - r_j) for s_j, r_j in zip(s, r, strict=True)))
    return ranking + bpreg * sum(s_j * r_j**2 for s_j, r_j in zip(s, r, strict=True))


def naive_top1_max(r: list[float], i: int) -> float:
    s = weights(r, i)
    return sum(s_j * (sigma(r_j - r[i]) + sigma(r_j**2)) for s_j, r_j in zip(s, r, strict=True))


def naive_binary_cross_entropy(r: list[float], i: int) -> float:
    negatives = [math.log(1 - sigma(r_j)) for j, r_j in enumerate(r) if j != i]
    return -math.log(sigma(r[i])) - sum(negatives) / len(negatives)


LOSSES = [
    ({"loss": "bpr"}, naive_bpr),
    ({"loss": "top1"}, naive_top1),
    ({"loss": "top1-max"}, naive_top1_max),
    ({"loss": "binary-cross-entropy"}, naive_binary_cross_entropy),
    ({"loss": "bpr-max", "bpreg": 0.7, "elu": 0.5}, partial(naive_bpr_max, bpreg=0.7, elu=0.5)),
    ({"loss": "bpr-max", "bpreg": 0.0, "elu": 0.0}, partial(naive_bpr_max, bpreg=0.0, elu=0.0)),
]


@pytest.mark.parametrize(("options", "naive"), LOSSES)
@pytest.mark.parametrize("columns", [3, 8])  # in-batch negatives alone, and with five samples
def test_a_pairwise_loss_and_its_gradient(options: dict[str, object], naive: Naive, columns: int) -> None:
    scores = np.random.default_rng(0).normal(size=(3, columns), scale=1.5)
    loss = pairwise_loss(replace(FitConfig(), **options))
    check(loss, naive, scores)


def check(loss: Callable[[torch.Tensor], torch.Tensor], naive: Naive, scores: np.ndarray) -> None:
    """Values against the formula, batched and row by row, and gradients against finite differences of the formula."""
    tensor = torch.tensor(scores, requires_grad=True)
    values = loss(tensor)
    assert values.tolist() == pytest.approx([naive(row.tolist(), i) for i, row in enumerate(scores)])
    (gradient,) = torch.autograd.grad(values.sum(), tensor)
    step = 1e-6
    for i, j in np.ndindex(scores.shape):
        low, high = scores[i].copy(), scores[i].copy()
        low[j] -= step
        high[j] += step
        slope = (naive(high.tolist(), i) - naive(low.tolist(), i)) / (2 * step)
        assert gradient[i, j].item() == pytest.approx(slope, abs=1e-7)
    assert torch.autograd.gradcheck(loss, tensor)


def test_cross_entropy_and_its_gradient() -> None:
    random = np.random.default_rng(0)
    scores, correction = random.normal(size=(3, 8)), random.normal(size=8)

    def corrected(r: list[float], i: int) -> float:
        return naive_cross_entropy([r_j - c for r_j, c in zip(r, correction, strict=True)], i)

    check(lambda scores: cross_entropy(scores, torch.tensor(correction)), corrected, scores)
    check(cross_entropy, naive_cross_entropy, scores)


@pytest.mark.parametrize("options", [{}, *(options for options, _ in LOSSES)])
def test_a_column_that_does_not_count_for_a_row_is_as_if_it_was_not_there(options: dict[str, object]) -> None:
    config = replace(FitConfig(logq=0.0), **options)
    random = np.random.default_rng(0)
    scores = torch.tensor(random.normal(size=(3, 7)))
    live = torch.tensor(random.random((3, 7)) < 0.5) | torch.eye(3, 7, dtype=torch.bool)
    live[2] = torch.eye(3, 7, dtype=torch.bool)[2]  # no negative at all
    loss = loss_of(config, torch.ones(9))
    items = torch.arange(7)
    values = loss(scores, items, 3, live)
    for row in range(3):
        own_first = torch.cat([scores[row, row : row + 1], scores[row][live[row] & (items != row)]])[None]
        (expected,) = loss(own_first, torch.arange(own_first.shape[1]), 1, None)
        torch.testing.assert_close(values[row], expected)


@pytest.mark.parametrize("options", [options for options, _ in LOSSES])
def test_huge_scores_and_missing_negatives_give_finite_losses(options: dict[str, object]) -> None:
    loss = pairwise_loss(replace(FitConfig(), **options))
    huge = torch.tensor([[1e4, -1e4, 1e4], [1e4, -1e4, 0]], requires_grad=True)
    alone = torch.tensor([[3.0]], requires_grad=True)
    for scores in (huge, alone):
        values = loss(scores)
        assert values.isfinite().all()
        (gradient,) = torch.autograd.grad(values.sum(), scores)
        assert gradient.isfinite().all()
    assert gradient.item() == 0


def test_a_target_far_above_its_negatives_is_no_loss() -> None:
    assert bpr_max(torch.tensor([[200.0, 0.0, 1.0]]), bpreg=0.0, elu=0.0).tolist() == [0]


def test_cross_entropy_of_huge_scores_is_finite() -> None:
    assert cross_entropy(torch.tensor([[1e4, -1e4], [1e4, -1e4]])).tolist() == [0, 2e4]


def test_correction_differs_between_targets_and_samples() -> None:
    support = torch.tensor([10.0, 20.0, 10.0, 40.0], dtype=torch.float64)
    expected = [0.5 * math.log(10), 0.5 * math.log(20), 0.5 * math.log(10**0.75), 0.5 * math.log(40**0.75)]
    assert logq_correction(support, targets=2, logq=0.5, alpha=0.75).tolist() == pytest.approx(expected)


def test_cross_entropy_is_no_pairwise_loss() -> None:
    with pytest.raises(
        ValueError, match=r"loss is 'cross-entropy': choose one of bpr, top1, top1-max, binary-cross-entropy or bpr-max"
    ):
        pairwise_loss(FitConfig())


def naive_top_cross_entropy(r: list[float], i: int, items: list[int], counted: list[bool], count: int) -> float:
    of_item = {item: r_j for r_j, item, yes in zip(r, items, counted, strict=True) if yes and item != items[i]}
    hardest = sorted(of_item.values())[-count:]
    return -math.log(math.exp(r[i]) / (math.exp(r[i]) + sum(math.exp(value) for value in hardest)))


@pytest.mark.parametrize("count", [1, 2, 4, 100])
@pytest.mark.parametrize("live", [None, [True, False, True, True, True, True, True, True]])
def test_top_cross_entropy_counts_the_highest_scored_of_the_other_items_once_each(
    count: int, live: list[bool] | None
) -> None:
    items = [7, 2, 7, 5, 2, 9, 5, 3]  # of three targets and five samples
    of_item = np.random.default_rng(0).normal(size=(3, 10), scale=1.5)
    scores = of_item[:, items]
    tensor = torch.tensor(of_item, requires_grad=True)
    values = top_cross_entropy(
        tensor[:, items], torch.tensor(items), 3, None if live is None else torch.tensor(live), count=count
    )
    rows = [0, 1, 2] if live is None else [0, 2]

    def naive(scores: np.ndarray) -> list[float]:
        return [naive_top_cross_entropy(scores[i].tolist(), i, items, live or [True] * len(items), count) for i in rows]

    assert values[rows].tolist() == pytest.approx(naive(scores))
    (gradient,) = torch.autograd.grad(values[rows].sum(), tensor)
    for place in np.ndindex(of_item.shape):
        ends = []
        for shift in (1e-6, -1e-6):
            moved = of_item.copy()
            moved[place] += shift
            ends.append(sum(naive(moved[:, items])))
        assert gradient[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def test_top_cross_entropy_of_rows_that_count_different_targets() -> None:
    """An item that is another target of the row's session counts only as a sample."""
    items = torch.tensor([1, 2, 3, 1])
    live = torch.tensor([[True, False, True, True], [False, True, True, True]])
    scores = torch.tensor([[0.0, 5.0, 1.0, 0.0], [2.0, 0.0, 1.0, 2.0]])
    found = top_cross_entropy(scores, items, 3, live, count=9)
    torch.testing.assert_close(
        found, torch.tensor([1 + math.exp(1), 1 + math.exp(1) + math.exp(2)]).log(), msg="row 0: 3; row 1: 3 and 1"
    )


def test_top_cross_entropy_without_a_negative_is_0_and_has_no_gradient() -> None:
    scores = torch.tensor([[2.0, 1.0]], requires_grad=True)
    loss = loss_of(FitConfig(top_negatives=5), torch.ones(9))(scores, torch.tensor([4, 4]), 1, None)
    assert loss.tolist() == [0]
    assert torch.autograd.grad(loss.sum(), scores)[0].tolist() == [[0, 0]]
