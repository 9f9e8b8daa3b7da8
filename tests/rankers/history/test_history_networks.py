"""NARM, STAMP and SASRec against their formulas, taken one session and one prefix at a time in numpy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rankers.history.network import HistoryConfig, HistoryNetwork
from rankers.narm.network import NARM
from rankers.sasrec.network import SASRec, SASRecConfig
from rankers.stamp.network import STAMP

Vector = NDArray[np.float64]
Weights = dict[str, NDArray[np.float64]]

ITEMS, HIDDEN, WINDOW, LAYERS, HEADS = 9, 6, 7, 2, 3


def sigma(x: Vector) -> Vector:
    return 1 / (1 + np.exp(-x))


def narm(w: Weights, items: list[int]) -> Vector:
    h, states = np.zeros(HIDDEN), []
    for item in items:
        of_input = w["gru.weight_ih_l0"] @ w["item_vectors"][item] + w["gru.bias_ih_l0"]
        of_state = w["gru.weight_hh_l0"] @ h + w["gru.bias_hh_l0"]
        (r_in, z_in, c_in), (r_h, z_h, c_h) = np.split(of_input, 3), np.split(of_state, 3)
        reset, keep = sigma(r_in + r_h), sigma(z_in + z_h)
        h = keep * h + (1 - keep) * np.tanh(c_in + reset * c_h)
        states.append(h)
    local = np.zeros(HIDDEN)
    for state in states:
        local += (w["attend"] @ sigma(w["attend_last.weight"] @ h + w["attend_each.weight"] @ state)) * state
    return w["output.weight"] @ np.concatenate([h, local])


def stamp(w: Weights, items: list[int]) -> Vector:
    x = [w["item_vectors"][item] for item in items]
    mean = sum(x) / len(x)
    attended = np.zeros(HIDDEN)
    for each in x:
        inner = w["attend_each.weight"] @ each + w["attend_last.weight"] @ x[-1] + w["attend_mean.weight"] @ mean
        attended += (w["attend"] @ sigma(inner + w["attend_last.bias"])) * each
    session = np.tanh(w["session.weight"] @ attended + w["session.bias"])
    return session * np.tanh(w["last_item.weight"] @ x[-1] + w["last_item.bias"])


def sasrec(w: Weights, items: list[int]) -> Vector:
    def norm(x: Vector, name: str) -> Vector:
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: Vector, name: str) -> Vector:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    f = [np.sqrt(HIDDEN) * w["item_vectors"][item] for item in items]
    for number in range(LAYERS):
        block = f"blocks.{number}"
        normal = [norm(x, f"{block}.attention_norm") for x in f]
        added = []
        for t in range(len(items)):
            heads = []
            placed = [normal[j] + w["positions"][t - j] for j in range(t + 1)]
            for units in np.split(np.arange(HIDDEN), HEADS):
                query = linear(normal[t], f"{block}.query")[units]
                keys = [linear(each, f"{block}.key")[units] for each in placed]
                values = [linear(each, f"{block}.value")[units] for each in placed]
                strength = np.exp([query @ key / np.sqrt(len(units)) for key in keys])
                heads.append(sum(s * value for s, value in zip(strength / strength.sum(), values, strict=True)))
            added.append(linear(np.concatenate(heads), f"{block}.attended"))
        f = [x + more for x, more in zip(f, added, strict=True)]
        inner = [np.maximum(linear(norm(x, f"{block}.forward_norm"), f"{block}.inner"), 0) for x in f]
        f = [x + linear(more, f"{block}.outer") for x, more in zip(f, inner, strict=True)]
    return norm(f[-1], "norm")


SHAPE = {"items": ITEMS, "hidden": HIDDEN, "window": WINDOW}
CASES: dict[str, tuple[Callable[[], HistoryNetwork], Callable[[Weights, list[int]], Vector]]] = {
    "narm": (lambda: NARM(HistoryConfig(**SHAPE)), narm),
    "stamp": (lambda: STAMP(HistoryConfig(**SHAPE)), stamp),
    "sasrec": (lambda: SASRec(SASRecConfig(**SHAPE, layers=LAYERS, heads=HEADS)), sasrec),
}
Case = tuple[HistoryNetwork, Callable[[Weights, list[int]], Vector]]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    build, naive = CASES[request.param]
    torch.manual_seed(3)
    network = build().double()
    with torch.no_grad():  # weights of every size, biases and scales too
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight) * 0.5)
    return network, naive


def weights_of(network: HistoryNetwork) -> Weights:
    return {name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()}


def some_sessions(lengths: list[int]) -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(0, ITEMS, length).tolist() for length in lengths]


def padded(sessions: list[list[int]], network: HistoryNetwork, filler: int) -> tuple[Any, torch.Tensor]:
    rows = np.full((len(sessions), WINDOW), filler)
    for row, session in zip(rows, sessions, strict=True):
        row[: len(session)] = session
    return network.item_vectors[torch.from_numpy(rows)], torch.tensor([len(session) - 1 for session in sessions])


def test_the_query_after_the_last_click_follows_the_formulas_whatever_comes_behind_it(case: Case) -> None:
    network, naive = case
    sessions = some_sessions([1, 2, 5, WINDOW, 3])
    expected = [naive(weights_of(network), session) for session in sessions]
    for filler in (0, 4):
        found = network.queries(*padded(sessions, network, filler))
        assert found.shape == (5, 1, HIDDEN)
        np.testing.assert_allclose(found[:, 0].detach(), expected, rtol=1e-9, atol=1e-12)


def test_one_pass_gives_the_query_after_every_click(case: Case) -> None:
    network, naive = case
    sessions = some_sessions([WINDOW, WINDOW, WINDOW])
    found = network.queries(network.item_vectors[torch.tensor(sessions)]).detach().numpy()
    for queries, session in zip(found, sessions, strict=True):
        expected = [naive(weights_of(network), session[: clicks + 1]) for clicks in range(WINDOW)]
        np.testing.assert_allclose(queries, expected, rtol=1e-9, atol=1e-12)


def test_the_gradients_are_those_of_the_formulas(case: Case) -> None:
    """By central differences of every weight."""
    network, naive = case
    session = some_sessions([4])[0]
    direction = np.random.default_rng(1).normal(size=HIDDEN)
    query = network.queries(network.item_vectors[torch.tensor([session])], torch.tensor([3]))[0, 0]
    (query @ torch.from_numpy(direction)).backward()
    weights = weights_of(network)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        expected = np.zeros_like(weights[name])
        for place in np.ndindex(expected.shape):
            at = weights[name][place]
            ends = []
            for shift in (1e-5, -1e-5):
                weights[name][place] = at + shift
                ends.append(direction @ naive(weights, session))
            weights[name][place] = at
            expected[place] = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-6, atol=1e-8, err_msg=name)


def test_a_shape_that_cannot_be_built_is_named() -> None:
    with pytest.raises(ValueError, match="window is 0: a network needs at least 1"):
        HistoryConfig(ITEMS, window=0)
    with pytest.raises(ValueError, match="hidden is 6, which 4 heads do not divide"):
        SASRecConfig(ITEMS, hidden=6, heads=4)
