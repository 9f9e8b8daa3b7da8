from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from clicklog.clicks import Clicks
from clicklog.items import ItemIndex
from rankers.bundle import Bundle
from rankers.families import network_family_of
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from trainer.carried_state import ACCUMULATOR
from trainer.config import FitConfig, TrainConfig
from trainer.train import Trained, train
from trainer.warm_start import WarmStart, warm_network

CONFIG = TrainConfig(
    FitConfig(batch_size=8, samples=20, epochs=2, dropout_hidden=0.0), hidden=6, min_support=1, device="cpu"
)
BACKENDS = pytest.mark.parametrize(
    "change",
    [{}, {"layers": 2}, {"input": "one-hot"}, {"family": "narm"}, {"family": "sasrec", "layers": 2}],
)  # the kernel, and autograd


def bundle(items: list[int], seed: int = 0) -> Bundle:
    torch.manual_seed(seed)
    network = GRU4Rec(NetworkConfig(len(items), hidden=8)).eval().requires_grad_(False)
    return Bundle("v", network, ItemIndex(list(items), np.arange(len(items), 0, -1)))


def clicks(sessions: range, items: int) -> Clicks:
    """Four clicks a session, one session a second."""
    random = np.random.default_rng(sessions.start)
    session = np.repeat(np.arange(sessions.start, sessions.stop), 4)
    item = random.integers(0, items, len(session))
    return Clicks(pl.DataFrame({"session_id": session, "item_id": item, "timestamp": 1000 * session}), "test")


def warm_start(parent: Trained, **changes: object) -> WarmStart:
    assert parent.bundle.trained_on is not None
    assert parent.bundle.trained_on.last is not None
    start = WarmStart(parent.bundle, parent.fit.state, parent.bundle.trained_on.last, epochs=1, replay=0.5)
    return replace(start, **changes)  # type: ignore[arg-type]


def test_a_warm_network_keeps_what_it_knows_and_retires_what_is_gone() -> None:
    parent = bundle([1, 2, 3, 4])
    index = ItemIndex([4, 9, 2], np.array([5, 4, 3]))
    network = warm_network(parent, index)
    assert torch.equal(network.output_weight[0], parent.model.output_weight[3])
    assert torch.equal(network.output_weight[2], parent.model.output_weight[1])
    state = torch.zeros(1, 1, 8)
    assert torch.equal(
        network.step(torch.tensor([2]), state), parent.model.step(torch.tensor([parent.items.row_of[2]]), state)
    )
    assert network.output_weight[1].abs().sum() > 0


@pytest.mark.parametrize("kind", ["shared", "embedding", "one-hot"])
def test_warm_networks_of_every_input(kind: str) -> None:
    torch.manual_seed(0)
    network = GRU4Rec(NetworkConfig(3, hidden=3, input=kind))  # type: ignore[arg-type]  # as many items as units
    parent = Bundle("v", network, ItemIndex([1, 2, 3], np.array([3, 2, 1])))
    warm = warm_network(parent, ItemIndex([3, 1, 2], np.array([1, 1, 1])))
    assert torch.equal(warm.output_weight, network.output_weight[[2, 0, 1]])
    assert torch.equal(warm.input_table, network.input_table[[2, 0, 1]])
    assert torch.equal(warm.layers[0].recurrent_weight, network.layers[0].recurrent_weight)  # type: ignore[arg-type]


@BACKENDS
def test_accumulators_follow_their_items_and_new_items_begin_at_zero(change: dict[str, object]) -> None:
    config = replace(CONFIG, **change)  # type: ignore[arg-type]
    parent = train(clicks(range(200), 30), config)
    index = ItemIndex([*parent.bundle.items.ids[5:], 99], np.ones(len(parent.bundle.items) - 4, dtype=np.int64))
    network = warm_network(parent.bundle, index)
    state = warm_start(parent).first_state(network, index, config.fit)
    assert state is not None
    if "rows" in state:
        before, now = parent.fit.state["rows"][:, 1], state["rows"][:, 1]
        layer, layer_now = parent.fit.state["dense"][1], state["dense"][1]
        h = network.config.hidden
        assert torch.equal(state["rows"][:, 0, :h], network.output_weight), "the weights are the network's"
    else:
        table = network.item_tables[0]
        name = f"{ACCUMULATOR}{table}"
        before, now = parent.fit.state[name], state[name]
        name = next(
            name for name in state if (name.startswith(ACCUMULATOR) and "recurrent" in name) or "attend" in name
        )
        layer, layer_now = parent.fit.state[name], state[name]
        assert torch.equal(state[f"network.{table}"], getattr(network, table))
    assert torch.equal(now[:-1], before[5:])
    assert before[5:].abs().sum() > 0
    assert not now[-1].any()
    assert torch.equal(layer_now, layer)
    assert layer.abs().sum() > 0


@pytest.mark.parametrize(("before", "now"), [({}, {"layers": 2}), ({"layers": 2}, {}), ({}, {"hidden": 20})])
def test_a_state_of_another_kind_of_training_is_left_behind(before: dict[str, int], now: dict[str, int]) -> None:
    parent = train(clicks(range(100), 30), replace(CONFIG, **before))  # type: ignore[arg-type]
    index = parent.bundle.items
    network = network_family_of("gru4rec").untrained(replace(CONFIG, **now).shape(len(index)))  # type: ignore[arg-type]
    assert warm_start(parent).first_state(network, index, CONFIG.fit) is None
    assert warm_start(parent, memory=None).first_state(network, index, CONFIG.fit) is None


@BACKENDS
def test_with_the_optimiser_state_a_warm_start_moves_the_weights_less(change: dict[str, object]) -> None:
    config = replace(CONFIG, **change)  # type: ignore[arg-type]
    parent = train(clicks(range(200), 30), config)
    log = clicks(range(300), 30)
    moved = []
    for memory in (parent.fit.state, None):
        warm = train(log, config, warm=warm_start(parent, memory=memory)).bundle
        rows = [warm.items.row_of[item] for item in parent.bundle.items.ids]
        table = warm.model.item_tables[0]
        moved.append((getattr(warm.model, table)[rows] - getattr(parent.bundle.model, table)).norm())
    assert 0 < moved[0] < 0.7 * moved[1]


def test_a_warm_start_trains_the_new_sessions_and_a_share_of_the_old() -> None:
    parent = train(clicks(range(200), 30), CONFIG)
    log = clicks(range(300), 30)
    events = {share: train(log, CONFIG, warm=warm_start(parent, replay=share)).fit.events for share in (0.0, 0.5, 1.0)}
    assert events[0.0] == 3 * 100
    assert 3 * 170 < events[0.5] < 3 * 230
    assert events[1.0] == 3 * 300
    trained = train(log, CONFIG, warm=warm_start(parent, epochs=2))
    assert len(trained.fit.losses) == 2
    assert len(trained.sessions) == 300, "all of them are there to judge others by"
    span = trained.bundle.trained_on
    assert span is not None
    assert (span.clicks, span.sessions) == (1200, 300)
