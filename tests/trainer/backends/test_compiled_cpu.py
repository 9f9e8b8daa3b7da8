"""The compiled kernel against plain autograd, and its functions against those of the standard library."""

import copy
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from clicklog.sessions import Sessions
from rankers.compiled import compiled
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from trainer.backends.choice import choose_backend
from trainer.backends.compiled_cpu import arithmetic
from trainer.backends.compiled_cpu.backend import CompiledCpuBackend
from trainer.backends.compiled_cpu.layout import Options, Team
from trainer.backends.compiled_cpu.losses import NAMES, loss_and_gradient
from trainer.backends.compiled_cpu.threads import barrier
from trainer.backends.reference import ReferenceBackend
from trainer.batches.session_parallel import Schedule, session_parallel
from trainer.config import FitConfig
from trainer.objective.losses import loss_of
from trainer.objective.negatives import random_words, stream_key

pytestmark = pytest.mark.usefixtures("compiled_kernel")

ITEMS = 40
PLAIN = FitConfig(batch_size=6, samples=50, learning_rate=0.1, momentum=0.3, dropout_hidden=0.0, seed=5)


def random_schedule(lanes: int, sessions: int = 40, items: int = ITEMS - 1) -> tuple[Schedule, np.ndarray]:
    random = np.random.default_rng(1)
    lengths = random.integers(2, 7, sessions)
    clicks = random.integers(0, items, lengths.sum())
    schedule = session_parallel(Sessions(clicks, np.concatenate([[0], np.cumsum(lengths)])), lanes)
    return schedule, np.bincount(clicks, minlength=items + 1) + 1


def random_network(hidden: int = 20, items: int = ITEMS) -> GRU4Rec:
    torch.manual_seed(3)
    network = GRU4Rec(NetworkConfig(items=items, hidden=hidden))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.4)
    return network


def both(
    config: FitConfig, hidden: int = 20, items: int = ITEMS
) -> tuple[CompiledCpuBackend, ReferenceBackend, Schedule]:
    """Two backends with the same initial weights; autograd in float64."""
    schedule, support = random_schedule(config.batch_size, max(40, config.batch_size), items - 1)
    network = random_network(hidden, items)
    kernel = choose_backend(copy.deepcopy(network), support, config)
    plain = choose_backend(network.double(), support, config)
    assert isinstance(kernel, CompiledCpuBackend)
    assert isinstance(plain, ReferenceBackend)
    return kernel, plain, schedule


def assert_equal_weights(kernel: CompiledCpuBackend, plain: ReferenceBackend, tolerance: float = 1e-5) -> None:
    kernel.write()
    expected = dict(plain.network.named_parameters())
    for name, parameter in kernel.network.named_parameters():
        torch.testing.assert_close(
            parameter.double(), expected[name].detach().double(), rtol=tolerance, atol=tolerance, msg=name
        )


LOSSES = [
    {"loss": "cross-entropy", "logq": 1.0},
    {"loss": "cross-entropy", "logq": 0.0},
    {"loss": "cross-entropy", "top_negatives": 7, "sample_alpha": 0.0},
    {"loss": "cross-entropy", "top_negatives": 5000},
    {"loss": "bpr", "top_negatives": 7},  # which cross-entropy alone uses
    {"loss": "top1"},
    {"loss": "bpr-max", "bpreg": 0.7, "elu": 0.5},
    {"loss": "bpr-max", "bpreg": 0.0, "elu": 0.0},
    {"loss": "top1-max"},
]
CHANGES = [{}, {"samples": 0}, {"batch_size": 1}, {"batch_size": 50, "samples": 700, "momentum": 0.0}]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("change", CHANGES)
def test_one_step_equals_autograd(loss: dict[str, object], change: dict[str, object]) -> None:
    kernel, plain, schedule = both(replace(PLAIN, **loss, **change))
    for backend in (kernel, plain):
        backend.begin_epoch()
        backend.run(schedule, 0, 1)
    assert kernel.loss == pytest.approx(plain.loss, rel=1e-5)
    assert_equal_weights(kernel, plain)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("change", CHANGES)
def test_gradients_equal_autograd_s(loss: dict[str, object], change: dict[str, object]) -> None:
    """With a tiny learning rate the weights do not change, and the accumulators hold the squared gradients."""
    kernel, plain, schedule = both(replace(PLAIN, **loss, **change, learning_rate=1e-30))
    for backend in (kernel, plain):
        backend.begin_epoch()
        backend.run(schedule, 0, 3)
    state = plain.optimiser.state
    h = plain.network.config.hidden
    squares = [
        (kernel.model.rows[:, 1, :h], state["accumulator.output_weight"]),
        (kernel.model.rows[:, 1, h], state["accumulator.output_bias"]),
        (kernel.model.dense[1], torch.cat([state[f"accumulator.{name}"].flatten() for name in plain.dense])),
    ]
    for ours, expected in squares:
        np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-4, atol=1e-5 * expected.max().item())


@pytest.mark.parametrize("loss", LOSSES)
def test_two_epochs_end_like_autograd_s(loss: dict[str, object]) -> None:
    kernel, plain, schedule = both(replace(PLAIN, **loss))
    for backend in (kernel, plain):
        for _ in range(2):
            backend.begin_epoch()
            for first in range(len(schedule)):  # independent of how the steps are cut into blocks
                backend.run(schedule, first, first + 1)
    assert kernel.loss == pytest.approx(plain.loss, rel=1e-3)
    assert_equal_weights(kernel, plain, tolerance=5e-3)


def test_blocks_of_steps_of_any_size_train_the_same() -> None:
    config = replace(PLAIN, dropout_hidden=0.3, dropout_embedding=0.2)
    weights = []
    for size in (1, 7, 1000):
        kernel, _, schedule = both(config)
        for _ in range(2):
            kernel.begin_epoch()
            for first in range(0, len(schedule), size):
                kernel.run(schedule, first, min(first + size, len(schedule)))
        weights.append(kernel.model.rows.copy())
    assert np.array_equal(weights[0], weights[1])
    assert np.array_equal(weights[0], weights[2])


@pytest.mark.parametrize("lanes", [32, 70])
def test_any_number_of_threads_trains_the_same(lanes: int) -> None:
    config = replace(PLAIN, batch_size=lanes, samples=700, dropout_hidden=0.3, dropout_embedding=0.2)
    schedule, support = random_schedule(lanes, sessions=84)
    assert np.diff(schedule.steps).min() == 1, "some steps have fewer lanes than parts"
    weights = []
    for threads in (1, 2, 3, 4):
        with threadpool_limits(threads, "blas"):
            kernel = choose_backend(random_network(), support, config)
        assert isinstance(kernel, CompiledCpuBackend)
        assert kernel.threads == min(threads, lanes // 16)
        for _ in range(2):
            kernel.begin_epoch()
            kernel.run(schedule, 0, len(schedule))
        weights.append((kernel.loss, kernel.model.rows.tobytes(), kernel.model.dense.tobytes()))
    assert all(others == weights[0] for others in weights)


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_a_thread_that_cannot_start_leaves_none_waiting(fails_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(PLAIN, batch_size=70)
    schedule, support = random_schedule(70)
    with threadpool_limits(4, "blas"):
        kernel = choose_backend(random_network(), support, config)
    assert isinstance(kernel, CompiledCpuBackend)
    submit, submitted = kernel.pool.submit, []

    def failing(*arguments: object) -> object:
        if len(submitted) == fails_at:
            raise RuntimeError("can't start new thread")
        submitted.append(submit(*arguments))  # type: ignore[arg-type]
        return submitted[-1]

    monkeypatch.setattr(kernel.pool, "submit", failing)
    kernel.begin_epoch()
    with pytest.raises(RuntimeError, match="can't start"):
        kernel.run(schedule, 0, len(schedule))
    assert all(future.done() for future in submitted)
    monkeypatch.undo()
    kernel.run(schedule, 0, len(schedule))
    assert math.isfinite(kernel.loss)


def test_backends_in_several_threads_leave_blas_as_it_was() -> None:
    config = replace(PLAIN, batch_size=70)
    schedule, support = random_schedule(70)

    network = random_network()
    backends = [CompiledCpuBackend(copy.deepcopy(network), support, config) for _ in range(3)]

    def walk(backend: CompiledCpuBackend) -> bytes:
        backend.begin_epoch()
        for first in range(len(schedule)):
            backend.run(schedule, first, first + 1)
        return backend.model.rows.tobytes()

    before = [library["num_threads"] for library in threadpool_info()]
    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(walk, backends))) == 1
    assert [library["num_threads"] for library in threadpool_info()] == before


@compiled
def add_in_turns(team: Team, turns: int, mine: np.ndarray, seen: np.ndarray) -> None:
    for turn in range(1, turns + 1):
        mine[team.number] = turn
        barrier(team)
        for other in range(team.size):
            seen[team.number] += mine[other] == turn
        barrier(team)


@pytest.mark.parametrize("size", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
def test_whoever_leaves_a_meeting_sees_what_the_others_did_before(size: int) -> None:
    turns, arrived = 20_000, np.zeros(1, dtype=np.int64)
    mine, seen = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    teams = [Team(number, size, np.zeros(1, dtype=np.int64), arrived) for number in range(size)]
    add_in_turns(Team(0, 1, np.zeros(1, dtype=np.int64), arrived), 0, mine, seen)  # compiles
    with ThreadPoolExecutor(size) as pool:
        list(pool.map(lambda team: add_in_turns(team, turns, mine, seen), teams))
    assert seen.tolist() == [turns * size] * size


@pytest.mark.parametrize("hidden", [100, 300])
def test_products_in_several_blocks_equal_autograd_s(hidden: int) -> None:
    """The blocks are small with 100 units, and the largest with 300."""
    kernel, plain, schedule = both(replace(PLAIN, batch_size=130, samples=900), hidden, items=1000)
    for backend in (kernel, plain):
        backend.begin_epoch()
        backend.run(schedule, 0, 1)
    assert kernel.loss == pytest.approx(plain.loss, rel=1e-5)
    assert_equal_weights(kernel, plain, tolerance=1e-4)


def test_lanes_in_parts_end_like_autograd_s() -> None:
    kernel, plain, schedule = both(replace(PLAIN, batch_size=70, samples=700))
    for backend in (kernel, plain):
        backend.begin_epoch()
        backend.run(schedule, 0, len(schedule))
    assert kernel.loss == pytest.approx(plain.loss, rel=1e-4)
    assert_equal_weights(kernel, plain, tolerance=1e-3)


TRAIN = """
import hashlib
from tests.trainer.backends.test_compiled_cpu import PLAIN, random_network, random_schedule
from trainer.backends.choice import choose_backend
schedule, support = random_schedule(PLAIN.batch_size, sessions=2000)
kernel = choose_backend(random_network(), support, PLAIN)
kernel.begin_epoch()
kernel.run(schedule, 0, len(schedule))
print(hashlib.sha256(kernel.model.rows.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_a_process_that_compiles_trains_the_same_as_one_that_finds_it_compiled(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TRAIN]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    assert any(tmp_path.rglob("*.nbc"))
    assert runs[0].stdout == runs[1].stdout


def test_a_place_without_a_cache_compiles_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**options)

    monkeypatch.setattr("rankers.compiled.njit", njit)
    assert compiled(lambda x: x + 1)(2) == 3


@pytest.fixture
def units_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes autograd drop the same units as the kernel: event by event, first of the embedding, then of the output."""
    words = random_words(stream_key(PLAIN.seed, "dropout"), 0, 10_000_000 // 100)
    uniform = (words >> np.uint64(40)) / 2.0**24
    calls = iter(range(10**9))
    events = [0]

    def dropout(values: torch.Tensor, rate: float) -> torch.Tensor:
        b, h = values.shape
        of_output = next(calls) % 2
        numbers = 2 * h * (events[0] + np.arange(b))[:, None] + of_output * h + np.arange(h)
        events[0] += b * of_output
        return values * torch.tensor(uniform[numbers] >= np.float32(rate)) / (1 - rate)

    monkeypatch.setattr(torch.nn.functional, "dropout", dropout)
    return None


@pytest.mark.usefixtures("units_of_the_kernel")
def test_dropout_equals_autograd_with_the_same_units() -> None:
    kernel, plain, schedule = both(replace(PLAIN, dropout_hidden=0.4, dropout_embedding=0.3))
    for backend in (kernel, plain):
        backend.begin_epoch()
        backend.run(schedule, 0, 4)
    assert kernel.loss == pytest.approx(plain.loss, rel=1e-5)
    assert_equal_weights(kernel, plain, tolerance=1e-4)


def test_what_no_step_touches_stays_as_it_was() -> None:
    kernel, _, schedule = both(replace(PLAIN, samples=0))
    before = kernel.model.rows[ITEMS - 1].copy()
    kernel.begin_epoch()
    kernel.run(schedule, 0, len(schedule))
    assert np.array_equal(kernel.model.rows[ITEMS - 1], before), "no session has this item"
    assert not kernel.model.rows[:, :, 21:].any(), "what fills the rows up"
    assert (kernel.items.slot == -1).all()


@pytest.mark.parametrize(
    ("shape", "change"),
    [
        ({"layers": 2}, {}),
        ({"input": "embedding"}, {}),
        ({"reset": "before"}, {}),
        ({}, {"optimizer": "adam"}),
        ({}, {"optimizer": "rmsprop"}),
        ({}, {"loss": "binary-cross-entropy"}),
    ],
)
def test_everything_else_goes_by_autograd(shape: dict[str, object], change: dict[str, object]) -> None:
    support = np.ones(5, dtype=np.int64)
    network = GRU4Rec(NetworkConfig(**{"items": 5, "hidden": 4, **shape}))
    assert isinstance(choose_backend(network, support, replace(PLAIN, **change)), ReferenceBackend)
    common = GRU4Rec(NetworkConfig(items=5, hidden=4))
    assert isinstance(choose_backend(common, support, PLAIN), CompiledCpuBackend)
    assert isinstance(choose_backend(common, support, PLAIN, plain=True), ReferenceBackend)


TOP = 7
"""Negatives that count with top-cross-entropy."""


def options(loss: str) -> Options:
    one, zero = np.float32(1), np.float32(0)
    key = np.uint64(0)
    return Options(NAMES.index(loss), TOP, np.float32(0.7), np.float32(0.5), one, zero, zero, zero, 1, 0, 1, key, key)


@pytest.mark.parametrize("loss", NAMES)
@pytest.mark.parametrize("copies_of_the_target", [1, 3])
def test_a_loss_over_unique_items_is_the_loss_over_columns(loss: str, copies_of_the_target: int) -> None:
    random = np.random.default_rng(0)
    counts = random.integers(1, 4, 30)
    counts[0] = copies_of_the_target
    r = random.normal(size=30, scale=2).astype(np.float32)
    columns = np.repeat(np.arange(30), counts)
    unique = torch.tensor(r, dtype=torch.float64, requires_grad=True)
    scores = unique[torch.tensor(columns)][None]  # (1, C), the first column is the target
    name, top = ("cross-entropy", TOP) if loss == "top-cross-entropy" else (loss, 0)
    config = FitConfig(loss=name, bpreg=0.7, elu=0.5, logq=0.0, top_negatives=top)
    of_columns = loss_of(config, torch.ones(30, dtype=torch.float64))
    expected = of_columns(scores, torch.tensor(columns), 1, None).sum()
    (gradient,) = torch.autograd.grad(expected, unique)
    value = loss_and_gradient(r, counts.astype(np.float32), 0, len(columns), options(loss))
    assert value == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(r, gradient.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", NAMES)
@pytest.mark.parametrize("own", [-300.0, 0.0, 300.0])
def test_losses_of_extreme_scores_are_finite(loss: str, own: float) -> None:
    r = np.array([own, 1, -1, 2], dtype=np.float32)
    assert math.isfinite(loss_and_gradient(r, np.ones(4, dtype=np.float32), 0, 4, options(loss)))
    assert np.isfinite(r).all()


def test_arithmetic() -> None:
    for x in np.linspace(-30, 30, 2001, dtype=np.float32):
        value = float(x)
        assert arithmetic.exp(x) == pytest.approx(math.exp(value), rel=3e-7)
        assert arithmetic.sigmoid(x) == pytest.approx(1 / (1 + math.exp(-value)), rel=5e-7)
        assert arithmetic.tanh(x) == pytest.approx(math.tanh(value), rel=1e-6, abs=1.5e-7)
        assert arithmetic.softplus(x) == pytest.approx(max(value, 0) + math.log1p(math.exp(-abs(value))), rel=1e-6)
    words = random_words(123, 5, 4)
    assert [arithmetic.random_word(np.uint64(123), number) for number in range(5, 9)] == words.tolist()
