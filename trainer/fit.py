"""Fitting a network to sessions, epoch by epoch: mini-batches, back-propagation, sampled negatives."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clicklog.sessions import Sessions
from schemas.errors import DivergedError, TrainingError
from trainer.backends.backend import Network, S, TrainingBackend
from trainer.backends.choice import choose_backend
from trainer.batches.session_parallel import session_order
from trainer.checkpoint import Checkpoint
from trainer.config import FitConfig
from trainer.distributed import SINGLE_PROCESS, Process
from trainer.validation import EpochChoice, Figures, best_epoch

REPORT_EVERY = 50  # steps between two reports of progress


@dataclass(frozen=True)
class Progress:
    """Progress of a fit.

    Attributes:
        epoch: the epoch that is running, from 1.
        epoch_done: whether this report is its last.
        events: trained so far, over all epochs.
        total: events of the whole fit.
        loss: mean loss per event of this epoch so far.
        seconds: since the fit began, without the time in which epochs were judged.
        resumed: how many of the events were trained before this fit, up to the checkpoint.
    """

    epoch: int
    epoch_done: bool
    events: int
    total: int
    loss: float
    seconds: float
    resumed: int = 0

    @property
    def rate(self) -> float:
        """Events per second."""
        return (self.events - self.resumed) / self.seconds


@dataclass(frozen=True)
class FitResult:
    """Result of a fit.

    Attributes:
        losses: mean loss per event of each epoch.
        events: trained by this fit, over all its epochs; events before a checkpoint are not counted.
        seconds: its wall time, without the time in which epochs were judged.
        state: `trainer.backends.backend.TrainingBackend.state` at the end, on the CPU.
        validated: the figures on the validation part after each epoch; empty without one.
    """

    losses: list[float]
    events: int
    seconds: float
    state: dict[str, Tensor] = field(repr=False, compare=False)
    validated: list[Figures] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """The epoch, from 1, whose weights the network has: the last one, or the best on the validation part."""
        return best_epoch(self.validated) if self.validated else len(self.losses)

    @property
    def loss(self) -> float:
        """Mean loss per event of that epoch."""
        return self.losses[self.epoch - 1]


def fit(
    network: Network,
    sessions: Sessions,
    support: NDArray[np.int64],
    config: FitConfig,
    progress: Callable[[Progress], object] | None = None,
    *,
    plain: bool = False,
    state: Mapping[str, Tensor] | None = None,
    checkpoint: Checkpoint | None = None,
    process: Process = SINGLE_PROCESS,
    after_epoch: Callable[[int], object] | None = None,
    choice: EpochChoice | None = None,
) -> FitResult:
    """Train `network` in place, on the device it is on.

    Every (click, next click) pair is trained once per epoch. The loss is summed over the events of a step and divided
    by the nominal batch size, even if a step has fewer events. Hidden states of recurrent networks are zero at the
    start of an epoch and of a session, and detached at every step.

    `config.seed` determines the negatives and, in the compiled kernel, the dropped units. The other backends draw
    dropped units from torch's generator (`torch.manual_seed`), which the network's initial weights come from as well.

    Args:
        network: a new one, or a trained one to train further.
        sessions: rows of the network's items.
        support: (I,) int64, training clicks of each item, at least 1.
        config: see `FitConfig`.
        progress: called every few steps and at the end of each epoch.
        plain: train by autograd even where a faster backend is available.
        state: initial state of the backend, for a warm start; ignored if there is a checkpoint to resume from.
        checkpoint: resume from it if it exists, and save to it after every epoch.
        process: this one of the processes that train together; all of them call this with the same arguments.
        after_epoch: called with the number of each trained epoch, once its weights are in the network; an exception
            that it raises ends the fit.
        choice: judges the network after every epoch; at the end the network has the weights of the best one.

    Raises:
        TrainingError: there is nothing to train on, the batch has fewer lanes than there are processes, the loss or a
            weight is no longer a number, or the checkpoint is damaged, of another training, or cannot be written.
    """
    _check_trainable(network, sessions, config, process)
    backend = choose_backend(network, support, config, plain, process)
    total = sessions.pairs * config.epochs
    began = time.perf_counter()
    losses = _resume(backend, state, checkpoint, process, choice)
    resumed = len(losses) * sessions.pairs
    schedule = None
    for epoch in range(len(losses) + 1, config.epochs + 1):
        if schedule is None or config.order == "random":
            order = session_order(sessions, config.order, config.seed, epoch)
            schedule = backend.schedule(sessions, order)
        for events, loss in _epoch(backend, schedule, config, epoch):
            if progress is not None:
                trained = (epoch - 1) * sessions.pairs + events
                seconds = time.perf_counter() - began
                progress(Progress(epoch, events == sessions.pairs, trained, total, loss, seconds, resumed))
        losses.append(backend.loss / sessions.pairs)
        backend.write()
        _check_weights(network, config)
        trained_until = time.perf_counter()
        if choice is not None:
            choice.after_epoch(network)
        if checkpoint is not None:
            kept = backend.state | (choice.state if choice else {})
            process.on_rank_zero(partial(checkpoint.save, losses, kept))
        if after_epoch is not None:
            after_epoch(epoch)
        began += time.perf_counter() - trained_until
    seconds = time.perf_counter() - began
    last = {name: tensor.detach().cpu() for name, tensor in backend.state.items()}
    if choice is None:
        return FitResult(losses, total - resumed, seconds, last)
    network.load_state_dict(choice.weights)
    return FitResult(losses, total - resumed, seconds, last, choice.values)


def _check_trainable(network: Network, sessions: Sessions, config: FitConfig, process: Process) -> None:
    if sessions.pairs == 0:
        raise TrainingError("there is no session of two clicks or more: train on more clicks, or lower --min-support")
    if network.config.items < 2:
        raise TrainingError("all clicks are on one item, so there is nothing to tell apart: train on more clicks")
    if config.batch_size < process.size:
        raise TrainingError(
            f"--batch-size {config.batch_size} leaves some of {process.size} processes without a lane: raise it, or "
            "start fewer"
        )


def _resume(
    backend: TrainingBackend[Any],
    state: Mapping[str, Tensor] | None,
    checkpoint: Checkpoint | None,
    process: Process,
    choice: EpochChoice | None,
) -> list[float]:
    """Load a checkpoint, or else the given state, into the backend; returns the losses of the finished epochs."""
    if checkpoint is not None and (kept := process.on_rank_zero(checkpoint.load)) is not None:
        losses, backend_state = kept
        backend.state = backend_state
        backend.write()
        if choice is not None:
            choice.state = backend_state
        return losses
    if state is not None:
        backend.state = dict(state)
    return []


def _epoch(backend: TrainingBackend[S], schedule: S, config: FitConfig, epoch: int) -> Iterator[tuple[int, float]]:
    """Train one epoch; yields every few steps the number of events whose loss is known, and their mean loss.

    Raises:
        DivergedError: the loss is no longer a number.
    """
    backend.begin_epoch()
    for first in range(0, len(schedule), REPORT_EVERY):
        last = min(first + REPORT_EVERY, len(schedule))
        backend.run(schedule, first, last)
        at_end = last == len(schedule)
        events, summed = (int(schedule.steps[last]), backend.loss) if at_end else backend.known
        mean = summed / max(events, 1)
        if not np.isfinite(mean):
            raise DivergedError(
                f"the loss is {mean} in epoch {epoch} after {events} events: lower --learning-rate "
                f"(it is {config.learning_rate}) or --momentum ({config.momentum})"
            )
        yield events, mean


def _check_weights(network: Network, config: FitConfig) -> None:
    if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
        rate = config.learning_rate
        raise DivergedError(f"the weights are no longer numbers: lower --learning-rate (it is {rate})")
