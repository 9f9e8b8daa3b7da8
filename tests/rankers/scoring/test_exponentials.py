"""The log of Σ exp(score / T) of the int8 scorer, against numpy's."""

import numpy as np
import pytest
import torch

from rankers.scoring.output_layer import OutputLayer
from rankers.scoring.scorers import DeviceScorer, _quantise


@pytest.mark.parametrize("items", [5, 1000, 1500, 5000])
@pytest.mark.parametrize(("spread", "temperature"), [(1.0, 1.0), (1.0, 0.07), (20.0, 2.0), (40.0, 0.5), (0.0, 1.0)])
def test_the_sum_is_that_of_the_exponentials(items: int, spread: float, temperature: float) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(items, 32) * spread / 8, torch.randn(items) * spread / 8
    queries = torch.randn(70, 32)
    scorer = OutputLayer(weight, bias, "exact").scorer_with_sums()
    rows, found = scorer.best_and_log_sums(queries, 3, temperature)
    scores = (queries @ weight.T + bias).double()
    expected = torch.logsumexp(scores / temperature, dim=1).numpy()
    lengths = queries.norm(dim=1) * weight.norm(dim=1).max()
    error = 0.015 * lengths.numpy() / temperature  # of a score from int8 products; those of many items cancel out
    error *= 0.2 if items >= 1000 and spread / temperature <= 1 else 1
    assert (np.abs(found - expected) <= error + 1e-4).all()
    np.testing.assert_array_equal(
        rows, torch.topk(scores, 3).indices.numpy() if spread else np.tile([0, 1, 2], (70, 1))
    )
    np.testing.assert_array_equal(scorer.best_and_log_sums(queries, 1, temperature)[1], found)
    for number in (0, 33, 69):  # alone as in the batch, bit by bit
        assert scorer.best_and_log_sums(queries[number : number + 1], 1, temperature)[1] == found[number]


def test_the_integers_are_those_of_a_division_rounded_once_as_on_every_cpu() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(1000, 64)).astype(np.float32)
    largest = np.abs(rows).argmax(axis=1)[:, np.newaxis]
    scales = np.abs(np.take_along_axis(rows, largest, axis=1)) / np.float32(63)
    ties = (random.integers(-63, 62, rows.shape) + np.float32(0.5)) * scales  # nearly, so that rounding twice shows
    np.put_along_axis(ties, largest, np.take_along_axis(rows, largest, axis=1), axis=1)
    found, found_scales, *_ = _quantise(ties, 63)
    np.testing.assert_array_equal(found_scales, scales[:, 0])
    np.testing.assert_array_equal(found, np.rint(ties / scales))


def test_on_a_device_the_sum_is_that_of_the_float_scores() -> None:
    torch.manual_seed(0)
    weight, bias, queries = torch.randn(1000, 32), torch.randn(1000), torch.randn(70, 32)
    rows, found = DeviceScorer(weight, bias).best_and_log_sums(queries, 3, 1.5)
    scores = (queries @ weight.T + bias).double()
    np.testing.assert_allclose(found, torch.logsumexp(scores / 1.5, dim=1).numpy(), rtol=1e-5)
    np.testing.assert_array_equal(rows, torch.topk(scores, 3).indices.numpy())
