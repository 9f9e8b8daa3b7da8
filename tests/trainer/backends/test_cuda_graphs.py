"""The GPU backend against plain autograd. On a CPU its steps run one by one; on a GPU they are replayed."""

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clicklog.sessions import Sessions
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from trainer.backends.choice import choose_backend
from trainer.backends.cuda_graphs.backend import STEPS, CudaGraphsBackend
from trainer.backends.reference import ReferenceBackend
from trainer.batches.session_parallel import Schedule, session_parallel
from trainer.config import FitConfig
from trainer.distributed import SINGLE_PROCESS
from trainer.fit import Progress, fit

ITEMS = 30
PLAIN = FitConfig(batch_size=6, samples=20, learning_rate=0.1, momentum=0.3, dropout_hidden=0.0, seed=5)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def random_sessions(count: int = 40) -> Sessions:
    random = np.random.default_rng(1)
    lengths = random.integers(2, 9, count)
    return Sessions(random.integers(0, ITEMS - 1, lengths.sum()), np.concatenate([[0], np.cumsum(lengths)]))


def support_of(sessions: Sessions) -> np.ndarray:
    return np.bincount(sessions.items, minlength=ITEMS) + 1


def random_network(**shape: object) -> GRU4Rec:
    torch.manual_seed(3)
    network = GRU4Rec(NetworkConfig(**{"items": ITEMS, "hidden": 7, **shape})).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.4)
    return network


def both(
    config: FitConfig, shape: dict[str, object], sessions: int = 40
) -> tuple[CudaGraphsBackend, ReferenceBackend, Schedule]:
    clicks = random_sessions(sessions)
    network = random_network(**shape).to(DEVICE)
    gpu = CudaGraphsBackend(copy.deepcopy(network), support_of(clicks), config)
    return (
        gpu,
        ReferenceBackend(network, support_of(clicks), config, SINGLE_PROCESS),
        session_parallel(clicks, config.batch_size),
    )


def assert_equal(gpu: CudaGraphsBackend, plain: ReferenceBackend) -> None:
    assert gpu.loss == pytest.approx(plain.loss, rel=1e-9)
    state, expected = gpu.state, plain.state
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        if name not in ("torch", "cuda"):
            torch.testing.assert_close(state[name], tensor, rtol=1e-7, atol=1e-9, msg=name, check_device=False)


LOSSES = [
    {"logq": 1.0},
    {"logq": 0.0},
    {"top_negatives": 4, "sample_alpha": 0.0},
    {"loss": "bpr"},
    {"loss": "top1"},
    {"loss": "bpr-max", "bpreg": 0.7, "elu": 0.5},
    {"loss": "bpr-max", "bpreg": 0.0, "elu": 0.0},
    {"loss": "top1-max"},
    {"loss": "binary-cross-entropy"},
]
CHANGES = [
    {},
    {"samples": 0},
    pytest.param({"batch_size": 1}, marks=pytest.mark.slow),  # many steps
    pytest.param({"batch_size": 1, "samples": 0}, marks=pytest.mark.slow),
    {"batch_size": 60},
]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("change", CHANGES)
def test_two_epochs_equal_autograd_s(loss: dict[str, object], change: dict[str, object]) -> None:
    gpu, plain, schedule = both(replace(PLAIN, **loss, **change), {})
    for backend in (gpu, plain):
        for _ in range(2):
            backend.begin_epoch()
            backend.run(schedule, 0, len(schedule))
    assert_equal(gpu, plain)


@pytest.mark.parametrize("optimizer", ["adagrad", "rmsprop", "adam"])
@pytest.mark.parametrize(
    "shape", [{}, {"input": "embedding"}, {"input": "one-hot", "reset": "before"}, {"layers": 2, "input": "embedding"}]
)
def test_every_network_and_optimiser(optimizer: str, shape: dict[str, object]) -> None:
    config = replace(PLAIN, optimizer=optimizer, learning_rate=0.02)  # type: ignore[arg-type]
    gpu, plain, schedule = both(config, shape)
    for backend in (gpu, plain):
        backend.begin_epoch()
        backend.run(schedule, 0, len(schedule))
    assert_equal(gpu, plain)
    assert not any(table[-1].any() for table in gpu.tables.values()), "the spare row"


def test_steps_cut_into_any_blocks() -> None:
    gpu, plain, schedule = both(replace(PLAIN, batch_size=2), {})
    assert len(schedule) > STEPS + 20
    for backend, cuts in ((gpu, [0, 1, 4, 19, 20, len(schedule)]), (plain, [0, len(schedule)])):
        backend.begin_epoch()
        for first, last in itertools.pairwise(cuts):
            backend.run(schedule, first, last)
    assert_equal(gpu, plain)
    live = schedule.lane[schedule.steps[-2] :]
    torch.testing.assert_close(gpu.hidden[live], plain.hidden[live])


def test_either_goes_on_from_the_other_s_checkpoint() -> None:
    gpu, plain, schedule = both(replace(PLAIN, samples=7), {})
    for before, after in ((gpu, plain), (plain, gpu)):
        before.begin_epoch()
        before.run(schedule, 0, len(schedule))
        after.state = {name: tensor.clone().cpu() for name, tensor in before.state.items()}
    plain.begin_epoch()
    gpu.begin_epoch()
    assert_equal(gpu, plain)


def test_write_and_the_loss_that_is_known() -> None:
    gpu, plain, schedule = both(PLAIN, {"input": "embedding"})
    gpu.begin_epoch()
    assert gpu.known == (0, 0.0)
    for backend in (gpu, plain):
        backend.run(schedule, 0, 5)
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    assert gpu.known == (schedule.steps[5], pytest.approx(plain.loss))
    gpu.write()
    for name, parameter in plain.network.named_parameters():
        torch.testing.assert_close(gpu.network.get_parameter(name), parameter, msg=name)


class OnDevice(TorchDispatchMode):
    """Refuses operations that make the host wait for their result or for its size."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        waits = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "equal", "is_nonzero")
        assert not any(function.__name__.startswith((name, f"_{name}")) for name in waits), f"{function} waits"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("change", [*LOSSES, {"optimizer": "adam"}, {"optimizer": "rmsprop"}])
@pytest.mark.parametrize("shape", [{}, {"layers": 2, "input": "embedding"}])
def test_no_operation_of_a_step_needs_the_host(change: dict[str, object], shape: dict[str, object]) -> None:
    gpu, plain, schedule = both(replace(PLAIN, dropout_hidden=0.3, **change), shape)
    gpu.begin_epoch()
    with OnDevice():
        gpu.run(schedule, 0, len(schedule))
    with pytest.raises(AssertionError, match="waits"), OnDevice():
        _ = plain.loss


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_no_step_waits_for_the_gpu() -> None:
    gpu, _, schedule = both(replace(PLAIN, batch_size=2, dropout_hidden=0.3), {})
    gpu.begin_epoch()
    gpu.run(schedule, 0, 20)  # records
    torch.cuda.set_sync_debug_mode("error")
    try:
        gpu.run(schedule, 20, len(schedule))
        assert gpu.known is not None
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_fit_takes_this_path_on_a_gpu() -> None:
    sessions = random_sessions()
    network = random_network().float().cuda()
    assert isinstance(choose_backend(network, support_of(sessions), PLAIN), CudaGraphsBackend)
    seen: list[Progress] = []
    result = fit(network, sessions, support_of(sessions), replace(PLAIN, dropout_hidden=0.3, epochs=5), seen.append)
    assert result.losses[-1] < result.losses[0]
    assert seen[-1].loss == pytest.approx(result.losses[-1])
