"""The compiled kernel as a training backend: copies a network's weights into the kernel's layout and back."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Barrier, Lock

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401, numba's products use this BLAS; load it before the thread limit below
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor
from typing_extensions import override

from clicklog.sessions import Sessions
from rankers.recurrent import RecurrentNetwork
from trainer.backends.backend import TrainingBackend
from trainer.backends.compiled_cpu.layout import Floats, Items, Model, Options, StepPlan, Team
from trainer.backends.compiled_cpu.losses import NAMES
from trainer.backends.compiled_cpu.step import walk
from trainer.backends.compiled_cpu.workspace import PARTS, parts_of, workspace
from trainer.batches.session_parallel import Schedule, session_parallel
from trainer.config import FitConfig
from trainer.objective.negatives import NegativeSampler, stream_key

VECTOR = 8  # float32 numbers; the length of a row is a multiple of it
LINE = 16  # float32 numbers in a cache line

BLAS = Lock()
"""Held while a kernel runs, because the number of BLAS threads is one setting for the whole process."""


class CompiledCpuBackend(TrainingBackend[Schedule]):
    """Trains a copy of a network's weights in the kernel's layout; `write` copies them back."""

    def __init__(self, network: RecurrentNetwork, support: NDArray[np.int64], config: FitConfig) -> None:
        self.network = network
        self.config = config
        self.sampler = NegativeSampler(support, config.sample_alpha, config.seed)
        self.model = _read(network, config.batch_size)
        tops = config.loss == "cross-entropy" and config.top_negatives > 0
        loss = "top-cross-entropy" if tops else config.loss
        strength = config.logq if loss == "cross-entropy" else 0.0
        self.items = Items(
            keep=self.sampler.keep,
            choice=np.stack([np.arange(len(support)), self.sampler.alias], axis=1).astype(np.int32),
            target_weight=(support**-strength).astype(np.float32),
            sample_weight=(support ** (-strength * config.sample_alpha)).astype(np.float32),
            slot=np.full(len(support), -1, dtype=np.int32),
        )
        self.options = Options(
            loss=NAMES.index(loss),
            top_negatives=config.top_negatives,
            bpreg=np.float32(config.bpreg),
            elu=np.float32(config.elu),
            learning_rate=np.float32(config.learning_rate),
            momentum=np.float32(config.momentum),
            dropout_embedding=np.float32(config.dropout_embedding),
            dropout_hidden=np.float32(config.dropout_hidden),
            lanes=config.batch_size,
            samples=config.samples,
            parts=parts_of(config.batch_size),
            negatives_key=np.uint64(self.sampler.key),
            dropout_key=np.uint64(stream_key(config.seed, "dropout")),
        )
        h, width = self.model.hidden.shape[1], self.model.rows.shape[2]
        self.workspace = workspace(config.batch_size, config.samples, h, width)
        self.blas = ThreadpoolController().select(user_api="blas")
        with BLAS:
            cores = [library.num_threads for library in self.blas.lib_controllers] or [1]
        self.threads = min(self.options.parts, *cores)
        self.pool = ThreadPoolExecutor(PARTS)  # starts its threads on demand
        self.drawn = 0  # negatives drawn before this epoch
        self.events = 0  # events trained before this epoch
        self.steps_done = 0  # of this epoch
        self.events_done = 0
        self.summed = 0.0

    @override
    def schedule(self, sessions: Sessions, order: NDArray[np.int64]) -> Schedule:
        return session_parallel(sessions, self.config.batch_size, order)

    @override
    def begin_epoch(self) -> None:
        self.drawn += self.steps_done * self.config.samples
        self.events += self.events_done
        self.steps_done = self.events_done = 0
        self.summed = 0.0
        self.model.hidden[:] = 0

    @override
    def run(self, schedule: Schedule, first: int, last: int) -> None:
        plan = StepPlan(schedule.input, schedule.target, schedule.lane, schedule.reset, schedule.steps)
        with BLAS, self.blas.limit(limits=1):  # the kernel has its own threads
            self.summed += self._walk(plan, first, last)
        self.steps_done, self.events_done = last, int(schedule.steps[last])

    def _walk(self, plan: StepPlan, first: int, last: int) -> float:
        """Train the steps with all threads; returns the summed loss."""
        arrived = np.zeros(1, dtype=np.int64)
        everyone_there = Barrier(self.threads)

        def walk_as(thread: int, size: int, to: int) -> float:
            team = Team(thread, size, np.zeros(1, dtype=np.int64), arrived)
            model, items, options, room = self.model, self.items, self.options, self.workspace
            return walk(model, items, plan, options, *room, team, first, to, self.drawn, self.events)

        def walk_with_others(thread: int) -> float:
            everyone_there.wait()  # in the kernel, threads would wait forever for one that failed to start
            return walk_as(thread, self.threads, last)

        if self.threads == 1:
            return walk_as(0, 1, last)
        walk_as(0, 1, first)  # trains no step; compiles in this thread, where Ctrl+C works
        started: list[Future[float]] = []
        try:
            for thread in range(self.threads):
                started.append(self.pool.submit(walk_with_others, thread))  # noqa: PERF401, kept even if the next submit fails
            return started[0].result()
        except BaseException:
            everyone_there.abort()  # threads that have passed the barrier continue
            raise
        finally:
            wait(started)

    @property
    @override
    def known(self) -> tuple[int, float]:
        return self.events_done, self.summed

    @property
    @override
    def loss(self) -> float:
        return self.summed

    @override
    def write(self) -> None:
        network, h = self.network, self.network.config.hidden
        with torch.no_grad():
            network.output_weight.copy_(torch.from_numpy(self.model.rows[:, 0, :h]))
            network.output_bias.copy_(torch.from_numpy(self.model.rows[:, 0, h]))
            begin = 0
            for parameter in _parameters(network):
                end = begin + parameter.numel()
                parameter.copy_(torch.from_numpy(self.model.dense[0, begin:end]).view_as(parameter))
                begin = end

    @property
    @override
    def state(self) -> dict[str, Tensor]:
        """Valid only between two epochs."""
        return {
            "rows": torch.from_numpy(self.model.rows),
            "dense": torch.from_numpy(self.model.dense),
            "drawn": torch.tensor(self.drawn + self.steps_done * self.config.samples),
            "events": torch.tensor(self.events + self.events_done),
        }

    @state.setter
    def state(self, state: dict[str, Tensor]) -> None:
        self.model.rows[:] = state["rows"].numpy()
        self.model.dense[:] = state["dense"].numpy()
        self.drawn, self.events = int(state["drawn"]), int(state["events"])
        self.steps_done = self.events_done = 0


def _read(network: RecurrentNetwork, lanes: int) -> Model:
    items, h = network.output_weight.shape
    width = -(-(h + 1) // VECTOR) * VECTOR
    rows = _aligned((items, 3, width))
    rows[:, 0, :h] = network.output_weight.detach().numpy()
    rows[:, 0, h] = network.output_bias.detach().numpy()
    flat = np.concatenate([parameter.detach().numpy().ravel() for parameter in _parameters(network)])
    dense = _aligned((3, len(flat)))
    dense[0] = flat
    return Model(rows, dense, np.zeros((lanes, h), dtype=np.float32))


def _parameters(network: RecurrentNetwork) -> list[Tensor]:
    """The layer's parameters in the order of `Model.dense`."""
    named = dict(network.layers[0].named_parameters())
    return [named[name] for name in ("input_weight", "recurrent_weight", "bias", "candidate_bias")]


def _aligned(shape: tuple[int, ...]) -> Floats:
    """Zeros, aligned to a cache line."""
    size = int(np.prod(shape))
    memory = np.zeros(size + LINE, dtype=np.float32)
    skip = -(memory.ctypes.data // 4) % LINE
    return memory[skip : skip + size].reshape(shape)
