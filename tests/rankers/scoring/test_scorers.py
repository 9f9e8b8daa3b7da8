"""The contract of every scorer: the items of a full sort, best first, for all sizes."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from rankers.scoring.scorers import DeviceScorer, PanelScorer, QuantisedScorer, Scorer

NEARLY_EXACT = partial(QuantisedScorer, exact=False)
ON_CPU = [PanelScorer, QuantisedScorer, NEARLY_EXACT]
SCORERS = [DeviceScorer, *ON_CPU]
SIZES = [(1, 20, 8), (3, 21, 16), (5, 300, 32), (70, 2048, 20), (130, 2500, 100), (9, 5003, 64)]


def sorted_scores(weight: torch.Tensor, bias: torch.Tensor, output: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    scores = (output.double() @ weight.double().T + bias.double()).numpy()
    order = np.argsort(-scores, axis=1, kind="stable")
    return order, np.take_along_axis(scores, order, 1)


@pytest.mark.parametrize("make", SCORERS)
@pytest.mark.parametrize(("sessions", "items", "hidden"), SIZES)
def test_the_best_items_are_those_of_a_full_sort(
    make: Callable[..., Scorer], sessions: int, items: int, hidden: int
) -> None:
    torch.manual_seed(items)
    weight, bias, output = torch.randn(items, hidden), torch.randn(items), torch.randn(sessions, hidden).tanh()
    rows, scores = make(weight, bias).best(output, 20)
    expected, values = sorted_scores(weight, bias, output)
    assert rows.shape == scores.shape == (sessions, 20)
    if make is NEARLY_EXACT:
        found = [
            len(set(mine) & set(best)) for mine, best in zip(rows.tolist(), expected[:, :20].tolist(), strict=True)
        ]
        assert np.mean(found) >= 0.999 * 20
    else:
        assert (rows == expected[:, :20]).all()
        np.testing.assert_allclose(scores, values[:, :20], atol=1e-4)


@pytest.mark.parametrize("make", SCORERS)
def test_the_very_first_and_last_items_can_win(make: Callable[..., Scorer]) -> None:
    weight, bias = torch.zeros(2500, 16), torch.zeros(2500)
    bias[[0, 2047, 2048, 2499]] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    rows, _ = make(weight, bias).best(torch.zeros(8, 16), 4)
    assert rows.tolist() == [[0, 2047, 2048, 2499]] * 8


@pytest.mark.parametrize("make", SCORERS)
def test_items_that_all_score_the_same_are_still_different_items(make: Callable[..., Scorer]) -> None:
    rows, _ = make(torch.zeros(777, 8), torch.zeros(777)).best(torch.zeros(9, 8), 20)
    assert all(len(set(row)) == 20 for row in rows.tolist())
    assert rows.max() < 777


@pytest.mark.parametrize("make", SCORERS)
def test_very_low_scores_beat_the_padding(make: Callable[..., Scorer]) -> None:
    rows, _ = make(torch.full((21, 4), -1e6), torch.zeros(21)).best(torch.ones(8, 4), 20)
    assert rows.max() < 21


@pytest.mark.parametrize("make", ON_CPU)
def test_a_session_gets_the_same_bits_whatever_else_is_in_the_batch(make: Callable[..., Scorer]) -> None:
    torch.manual_seed(0)
    weight, bias, output = torch.randn(2500, 100), torch.randn(2500), torch.randn(130, 100).tanh()
    weight[1250:], bias[1250:] = weight[:1250], bias[:1250]  # every score twice
    scorer = make(weight, bias)
    rows, scores = scorer.best(output, 20)
    for size in (1, 2, 7, 65):
        parts = [scorer.best(part, 20) for part in output.split(size)]
        assert (np.concatenate([part for part, _ in parts]) == rows).all()
        assert (np.concatenate([part for _, part in parts]) == scores).all()


@pytest.mark.parametrize("make", ON_CPU)
def test_equal_scores_go_by_item_number(make: Callable[..., Scorer]) -> None:
    rows, _ = make(torch.zeros(777, 8), (torch.arange(777) % 2).float()).best(torch.zeros(9, 8), 20)
    assert (rows == np.arange(1, 41, 2)).all()


def test_an_exact_scorer_finds_items_whose_score_int8_rounds_away_altogether() -> None:
    output = torch.full((3, 64), 0.003)
    output[:, 0] = 1.0  # the others are below half a step of 1/127
    weight = torch.zeros(2000, 64)
    weight[:, 0] = 0.1  # score 0.1
    weight[504:528] = 1.0
    weight[504:528, 0] = 0.0  # score 0.189, which int8 rounds to 0; three whole blocks
    exact, nearly = QuantisedScorer(weight, torch.zeros(2000)), NEARLY_EXACT(weight, torch.zeros(2000))
    assert (exact.best(output, 20)[0] == np.arange(504, 524)).all()
    assert (nearly.best(output, 20)[0] == np.arange(20)).all()
