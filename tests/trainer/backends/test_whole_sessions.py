import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.families import network_family_of
from rankers.history.network import HistoryConfig, HistoryNetwork
from rankers.narm.network import NARM
from rankers.sasrec.network import SASRec, SASRecConfig
from rankers.stamp.network import STAMP
from schemas.errors import TrainingError
from tests.trainer.made_sessions import markov_sessions, sessions_whose_first_click_counts, support_of
from trainer.batches.equal_length import equal_length
from trainer.config import FitConfig
from trainer.distributed import Member
from trainer.evaluation.full_ranking import evaluate
from trainer.fit import fit
from trainer.objective.negatives import NegativeSampler

ITEMS = 12
CONFIG = FitConfig(batch_size=6, samples=5, learning_rate=0.1, momentum=0.3, dropout_hidden=0.0, epochs=2, seed=5)


def narm() -> HistoryNetwork:
    return NARM(HistoryConfig(ITEMS, hidden=4, window=3))


def stamp() -> HistoryNetwork:
    return STAMP(HistoryConfig(ITEMS, hidden=4, window=3))


def sasrec() -> HistoryNetwork:
    return SASRec(SASRecConfig(ITEMS, hidden=4, window=3, layers=2, heads=2))


def random_sessions(count: int = 15) -> Sessions:
    random = np.random.default_rng(0)
    lengths = random.integers(2, 7, count)
    return Sessions(random.integers(0, ITEMS, lengths.sum()), np.concatenate([[0], np.cumsum(lengths)]))


def naive_fit(network: HistoryNetwork, sessions: Sessions, support: np.ndarray, config: FitConfig) -> list[float]:
    """Query by query and score by score, with dense gradients, and Adagrad with a mask of the rows that a step uses."""
    batches = equal_length(sessions, config.batch_size, network.config.window, np.arange(len(sessions)))
    sampler = NegativeSampler(support, config.sample_alpha, config.seed)
    parameters = dict(network.named_parameters())
    accumulated, velocity = ({name: torch.zeros_like(p) for name, p in parameters.items()} for _ in range(2))
    losses = []
    for _ in range(config.epochs):
        total = 0.0
        for step in range(len(batches)):
            clicks = batches.clicks(step).tolist()
            negatives = sampler.draw(config.samples).tolist()
            targets = [(session, item) for session, row in enumerate(clicks) for item in row[1:]]
            loss = torch.zeros(()).double()
            event = 0
            for session, row in enumerate(clicks):
                queries = network.queries(network.item_vectors[torch.tensor([row[:-1]])])[0]
                for query in queries:
                    others = [item for of, item in targets if of != session]
                    own = targets[event][1]
                    r = [query @ network.item_vectors[own] - np.log(support[own])]
                    r += [query @ network.item_vectors[j] - np.log(support[j]) for j in others]
                    r += [
                        query @ network.item_vectors[j] - np.log(support[j] ** config.sample_alpha) for j in negatives
                    ]
                    loss = loss - torch.log(torch.exp(r[0]) / sum(torch.exp(value) for value in r))
                    event += 1
            network.zero_grad()
            (loss / config.batch_size).backward()
            total += float(loss.detach())
            touched = sorted({item for row in clicks for item in row} | set(negatives))
            with torch.no_grad():
                for name, p in parameters.items():
                    rows = touched if name == "item_vectors" else slice(None)
                    accumulated[name][rows] += p.grad[rows] ** 2
                    change = config.learning_rate * p.grad[rows] / torch.sqrt(accumulated[name][rows] + 1e-6)
                    velocity[name][rows] = config.momentum * velocity[name][rows] - change
                    p[rows] += velocity[name][rows]
        losses.append(total / sessions.pairs)
    return losses


@pytest.mark.parametrize("build", [narm, stamp, sasrec])
@pytest.mark.parametrize("change", [{}, {"samples": 0}, {"batch_size": 1}, {"sample_alpha": 0.0}])
def test_fit_equals_the_formulas_taken_query_by_query(build: Any, change: dict[str, Any]) -> None:
    torch.manual_seed(1)
    network = build().double()
    expected = copy.deepcopy(network)
    sessions = random_sessions()
    config = replace(CONFIG, **change)
    result = fit(network, sessions, support_of(sessions, ITEMS), config)
    losses = naive_fit(expected, sessions, support_of(sessions, ITEMS), config)
    assert result.losses == pytest.approx(losses, rel=1e-9)
    assert result.events == 2 * sessions.pairs
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor, rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.parametrize("build", [narm, stamp, sasrec])
@pytest.mark.parametrize("option", ["dropout_hidden", "dropout_embedding"])
def test_each_dropout_rate_has_an_effect_and_the_seed_decides_it(build: Any, option: str) -> None:
    sessions = random_sessions()
    trained = []
    for rate in (0.0, 0.5, 0.5):
        torch.manual_seed(1)
        network = build()
        fit(network, sessions, support_of(sessions, ITEMS), replace(CONFIG, **{option: rate}))
        trained.append(network.item_vectors.detach())
    assert not torch.allclose(trained[0], trained[1])
    assert torch.equal(trained[1], trained[2])


def learnt(family: str, sessions: Sessions, judged: Sessions, items: int, config: FitConfig) -> float:
    """Recall@1 after a training."""
    torch.manual_seed(0)
    chosen = network_family_of(family)
    network = chosen.untrained({"items": items, "hidden": 32, "window": 10})
    fit(network, sessions, support_of(sessions, items), config)
    index = ItemIndex(list(range(items)), np.ones(items, dtype=np.int64))
    return evaluate(chosen.ranker(network, index, torch.device("cpu"), "exact"), judged).recall[1]


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("narm", {}),
        ("stamp", {}),
        ("sasrec", {}),
        ("sasrec", {"samples": 100, "sample_alpha": 0.0, "top_negatives": 10}),
    ],
)
def test_it_learns_what_there_is_to_learn(family: str, change: dict[str, Any]) -> None:
    config = FitConfig(
        **{"batch_size": 32, "samples": 32, "learning_rate": 0.1, "epochs": 5, "dropout_hidden": 0.1, **change}
    )
    recall = {
        noise: learnt(family, markov_sessions(noise, 800, seed=1), markov_sessions(noise, 400, seed=2), 60, config)
        for noise in (0.1, 1.0)
    }
    assert recall[0.1] > 0.9 - 0.05, "nine of ten next items can be known"
    assert recall[1.0] < 3 / 60, "nothing can be learnt from noise"


@pytest.mark.parametrize("family", ["narm", "stamp", "sasrec"])
def test_the_session_s_past_counts_and_not_only_its_last_click(family: str) -> None:
    sessions = sessions_whose_first_click_counts()
    config = FitConfig(batch_size=32, samples=16, learning_rate=0.05, dropout_hidden=0.0, epochs=15)
    assert learnt(family, sessions, sessions, ITEMS, config) > 0.95


@pytest.mark.parametrize("loss", ["bpr", "top1", "bpr-max", "top1-max", "binary-cross-entropy"])
@pytest.mark.parametrize("optimizer", ["adagrad", "rmsprop", "adam"])
def test_every_loss_and_optimiser_trains_it(loss: Any, optimizer: Any) -> None:
    torch.manual_seed(1)
    sessions = random_sessions(40)
    config = replace(CONFIG, loss=loss, optimizer=optimizer, learning_rate=0.01, epochs=6)
    losses = fit(sasrec(), sessions, support_of(sessions, ITEMS), config).losses
    assert losses[-1] < losses[0]


def test_several_processes_are_refused() -> None:
    sessions = random_sessions()
    with pytest.raises(TrainingError, match="2 processes cannot train a network that reads the history"):
        fit(stamp(), sessions, support_of(sessions, ITEMS), CONFIG, process=Member(0, 2))
