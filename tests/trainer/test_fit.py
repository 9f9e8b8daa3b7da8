import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from clicklog.sessions import Sessions
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from schemas.errors import TrainingError
from tests.rankers.gru4rec.ready import ranker_of
from tests.trainer.made_sessions import markov_sessions, sessions_of, sessions_whose_first_click_counts, support_of
from trainer.batches.session_parallel import session_parallel
from trainer.config import FitConfig
from trainer.evaluation.full_ranking import evaluate
from trainer.fit import Progress, fit
from trainer.objective.negatives import NegativeSampler

pytestmark = pytest.mark.usefixtures("compiled_kernel")

ITEMS = 12
PLAIN = FitConfig(batch_size=4, samples=6, learning_rate=0.1, momentum=0.3, dropout_hidden=0.0, epochs=2, seed=5)


def random_sessions(count: int, items: int = ITEMS, seed: int = 0) -> Sessions:
    random = np.random.default_rng(seed)
    return sessions_of(*(random.integers(0, items, random.integers(2, 6)).tolist() for _ in range(count)))


def naive_fit(network: GRU4Rec, sessions: Sessions, support: np.ndarray, config: FitConfig) -> list[float]:
    """Row by row, with dense gradients of whole tables, and Adagrad with a mask of the rows that the step uses."""
    schedule = session_parallel(sessions, config.batch_size)
    sampler = NegativeSampler(support, config.sample_alpha, config.seed)
    parameters = dict(network.named_parameters())
    accumulated = {name: torch.zeros_like(p) for name, p in parameters.items()}
    velocity = {name: torch.zeros_like(p) for name, p in parameters.items()}
    losses = []
    for _ in range(config.epochs):
        h = [torch.zeros(1, network.config.layers, network.config.hidden).double() for _ in range(config.batch_size)]
        total = 0.0
        for begin, end in zip(schedule.steps[:-1], schedule.steps[1:], strict=True):
            events = range(begin, end)
            negatives = sampler.draw(config.samples).tolist()
            columns = [int(schedule.target[e]) for e in events] + negatives
            corrections = [config.logq * np.log(support[j]) for j in columns[: end - begin]]
            corrections += [config.logq * np.log(support[j] ** config.sample_alpha) for j in negatives]
            loss = torch.zeros(()).double()
            for row, e in enumerate(events):
                before = torch.zeros_like(h[0]) if schedule.reset[e] else h[schedule.lane[e]]
                after = network.step(torch.tensor([schedule.input[e]]), before)
                r = [
                    after[0, -1] @ network.output_weight[j] + network.output_bias[j] - c
                    for j, c in zip(columns, corrections, strict=True)
                ]
                loss = loss - torch.log(torch.exp(r[row]) / sum(torch.exp(value) for value in r))
                h[schedule.lane[e]] = after.detach()
            network.zero_grad()
            (loss / config.batch_size).backward()
            total += float(loss.detach())
            clicked = [int(schedule.input[e]) for e in events]
            touched = {"output_weight": columns + clicked, "output_bias": columns, "embedding": clicked}
            if network.embedding is not None:
                touched["output_weight"] = columns
            with torch.no_grad():
                for name, p in parameters.items():
                    rows = sorted(set(touched[name])) if name in touched else slice(None)
                    g = p.grad[rows]
                    accumulated[name][rows] += g**2
                    step = config.learning_rate * g / torch.sqrt(accumulated[name][rows] + 1e-6)
                    velocity[name][rows] = config.momentum * velocity[name][rows] - step
                    p[rows] += velocity[name][rows]
        losses.append(total / sessions.pairs)
    return losses


@pytest.mark.parametrize(
    ("shape", "change"),
    [
        ({}, {}),
        ({"layers": 2, "reset": "before"}, {"momentum": 0.0}),
        ({"input": "embedding"}, {"logq": 0.0}),
        ({"input": "one-hot"}, {"samples": 0, "logq": 0.5}),
        ({}, {"batch_size": 50}),
        ({}, {"batch_size": 1, "sample_alpha": 1.0}),
    ],
)
def test_fit_equals_the_formulas_taken_row_by_row(shape: dict[str, object], change: dict[str, object]) -> None:
    torch.manual_seed(1)
    network = GRU4Rec(NetworkConfig(**{"items": ITEMS, "hidden": 5, **shape})).double()
    expected = copy.deepcopy(network)
    sessions = random_sessions(9)
    config = replace(PLAIN, **change)
    result = fit(network, sessions, support_of(sessions, ITEMS), config)
    losses = naive_fit(expected, sessions, support_of(sessions, ITEMS), config)
    assert result.losses == pytest.approx(losses, rel=1e-9)
    assert result.events == 2 * sessions.pairs
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor, rtol=1e-8, atol=1e-10, msg=name)


def test_a_row_that_no_step_touches_stays_as_it_was() -> None:
    network = GRU4Rec(NetworkConfig(items=ITEMS, hidden=5))
    before = network.output_weight[ITEMS - 1].clone()
    sessions = random_sessions(9, items=ITEMS - 1)
    fit(network, sessions, support_of(sessions, ITEMS), replace(PLAIN, samples=0))
    assert torch.equal(network.output_weight[ITEMS - 1], before)
    assert network.output_bias[ITEMS - 1] == 0


def test_fit_is_reproducible_with_dropout() -> None:
    sessions = random_sessions(20)
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        network = GRU4Rec(NetworkConfig(items=ITEMS, hidden=5))
        fit(network, sessions, support_of(sessions, ITEMS), replace(PLAIN, dropout_hidden=0.4, dropout_embedding=0.2))
        weights.append(network.output_weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("option", ["dropout_hidden", "dropout_embedding"])
def test_each_dropout_rate_has_an_effect(option: str) -> None:
    sessions = random_sessions(20)
    weights = []
    for rate in (0.0, 0.5):
        torch.manual_seed(1)
        network = GRU4Rec(NetworkConfig(items=ITEMS, hidden=5))
        fit(network, sessions, support_of(sessions, ITEMS), replace(PLAIN, **{option: rate}))
        weights.append(network.output_weight.detach())
    assert not torch.allclose(weights[0], weights[1])


AUTOGRAD: list[dict[str, object]] = [{"input": "embedding"}, {"input": "one-hot"}, {"layers": 2}]


@pytest.mark.parametrize("shape", [{}, *(pytest.param(shape, marks=pytest.mark.slow) for shape in AUTOGRAD)])
def test_it_learns_what_there_is_to_learn(shape: dict[str, object]) -> None:
    config = FitConfig(batch_size=32, samples=32, learning_rate=0.2, epochs=4, dropout_hidden=0.1)
    recall = {}
    for noise in (0.1, 1.0):
        torch.manual_seed(0)
        network = GRU4Rec(NetworkConfig(**{"items": 60, "hidden": 32, **shape}))
        sessions = markov_sessions(noise, 800, seed=1)
        result = fit(network, sessions, support_of(sessions, 60), config)
        assert result.losses[-1] < result.losses[0]
        recall[noise] = evaluate(ranker_of(network), markov_sessions(noise, 200, seed=2)).recall[5]
    assert recall[0.1] > 0.85
    assert recall[1.0] < 3 * 5 / 60, "nothing can be learnt from noise"


def test_the_session_s_past_counts_and_not_only_its_last_click() -> None:
    sessions = sessions_whose_first_click_counts()
    torch.manual_seed(0)
    network = GRU4Rec(NetworkConfig(items=ITEMS, hidden=32))
    fit(
        network,
        sessions,
        support_of(sessions, ITEMS),
        FitConfig(batch_size=32, samples=16, learning_rate=0.05, dropout_hidden=0.0, epochs=15),
    )
    assert evaluate(ranker_of(network), sessions).recall[1] > 0.95


def test_progress_reaches_the_end() -> None:
    seen: list[Progress] = []
    sessions = random_sessions(30)
    network = GRU4Rec(NetworkConfig(items=ITEMS, hidden=5))
    result = fit(network, sessions, support_of(sessions, ITEMS), PLAIN, seen.append)
    assert [now.epoch for now in seen if now.epoch_done] == [1, 2]
    assert seen[-1].events == seen[-1].total == result.events == 2 * sessions.pairs
    assert [now.loss for now in seen if now.epoch_done] == pytest.approx(result.losses)


def test_a_loss_that_is_no_number_ends_the_fit() -> None:
    sessions = random_sessions(30)
    network = GRU4Rec(NetworkConfig(items=ITEMS, hidden=5))
    with torch.no_grad():
        network.output_bias[3] = torch.inf
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) in epoch 1 .* lower --learning-rate"):
        fit(network, sessions, support_of(sessions, ITEMS), PLAIN)


def test_nothing_to_train_on() -> None:
    empty = Sessions(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64))
    with pytest.raises(TrainingError, match="no session of two clicks"):
        fit(GRU4Rec(NetworkConfig(items=ITEMS)), empty, np.ones(ITEMS, dtype=np.int64), PLAIN)
