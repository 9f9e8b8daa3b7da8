"""How steps are warmed up, recorded and replayed, with a fake for CUDA's calls."""

import contextlib
from collections.abc import Iterator

import pytest
import torch

from schemas.errors import TrainingError
from trainer.backends.cuda_graphs.replay import BLOCK, WARM_UP, Replay


class Device:
    """Counts the steps that run; recorded steps do not run."""

    def __init__(self) -> None:
        self.recording: Graph | None = None
        self.ran = self.launches = self.recorded = 0

    def step(self) -> None:
        if self.recording is None:
            self.ran += 1
            self.launches += 1
        else:
            self.recording.steps += 1
            self.recorded += 1


class Graph:
    def __init__(self, device: Device) -> None:
        self.device, self.steps = device, 0

    def replay(self) -> None:
        self.device.ran += self.steps
        self.device.launches += 1


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device()

    @contextlib.contextmanager
    def record(graph: Graph, stream: object) -> Iterator[None]:  # noqa: ARG001
        device.recording = graph
        yield
        device.recording = None

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())  # noqa: ARG005
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: Graph(device))
    monkeypatch.setattr(torch.cuda, "graph", record)
    return device


def test_every_step_runs_once_however_it_is_asked_for(device: Device) -> None:
    replay = Replay(device.step, torch.device("cuda"))
    total = 0
    for times in (1, 7, 50, 0, 3, 23, 50):
        replay(times)
        total += times
        assert device.ran == total
    assert device.recorded == BLOCK + 1, "each length is recorded once"
    blocks, single = (50 // BLOCK) * 2 + 2, 7 + 1 + 3 + 3 - WARM_UP
    assert device.launches == WARM_UP + blocks + single


def test_without_a_gpu_the_steps_simply_run(device: Device) -> None:
    Replay(device.step, torch.device("cpu"))(25)
    assert (device.ran, device.recorded) == (25, 0)


def test_a_step_that_cannot_be_recorded_is_told(device: Device) -> None:
    def step() -> None:
        device.step()
        if device.recording is not None:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(TrainingError, match=r"cannot be recorded on the GPU \(operation not permitted.*--device cpu"):
        Replay(step, torch.device("cuda"))(WARM_UP + 1)
