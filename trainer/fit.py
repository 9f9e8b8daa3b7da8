"""Fitting a network to sessions: session-parallel mini-batches, one step of back-propagation, sampled negatives."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gru4rec.network import GRU4Rec
from schemas.errors import TrainingError
from trainer.config import FitConfig
from trainer.path import path_of
from trainer.schedule import session_order, session_parallel
from trainer.sessions import Sessions

REPORT_EVERY = 50  # steps between two reports of progress


@dataclass(frozen=True)
class Progress:
    """Where a fit stands.

    Attributes:
        epoch: the epoch that is running, from 1.
        epoch_done: whether this report is its last.
        events: trained so far, over all epochs.
        total: events of the whole fit.
        loss: mean loss per event of this epoch so far.
        seconds: since the fit began.
    """

    epoch: int
    epoch_done: bool
    events: int
    total: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class FitResult:
    """What a fit came to: mean loss per event of each epoch, events trained over all epochs, and its wall time."""

    losses: list[float]
    events: int
    seconds: float


def fit(
    network: GRU4Rec,
    sessions: Sessions,
    support: NDArray[np.int64],
    config: FitConfig,
    progress: Callable[[Progress], None] | None = None,
    *,
    threads: int = 1,
    plain: bool = False,
) -> FitResult:
    """Train `network` in place, on the device it is on.

    Every (click, next click) pair is trained once an epoch. Hidden states are zero at the start of an epoch and of a
    session, and detached at every step. The loss is summed over the live lanes and divided by the nominal batch
    size, also where fewer lanes are live.

    Negatives are reproducible by `config.seed`; the network's start comes from torch's own generator
    (`torch.manual_seed`), and so do dropped units where autograd trains.

    Args:
        network: as built, or to be trained further.
        sessions: rows of the network's items.
        support: (I,) int64, training clicks of each item, at least 1.
        config: see there.
        progress: called every few steps and at the end of each epoch.
        threads: of the compiled kernel; no more than there are idle cores.
        plain: train by autograd where the compiled kernel could.

    Raises:
        TrainingError: there is nothing to train on, or the loss is no longer a number.
    """
    if sessions.pairs == 0:
        raise TrainingError("there is no session of two clicks or more: train on more clicks, or lower --min-support")
    if network.config.items < 2:
        raise TrainingError("all clicks are on one item, so there is nothing to tell apart: train on more clicks")
    path = path_of(network, support, config, threads, plain)
    total = sessions.pairs * config.epochs
    began = time.perf_counter()
    losses: list[float] = []
    schedule = None
    for epoch in range(1, config.epochs + 1):
        if schedule is None or config.order == "random":
            order = session_order(sessions, config.order, config.seed, epoch)
            schedule = session_parallel(sessions, config.batch_size, order)
        path.begin_epoch()
        for first in range(0, len(schedule), REPORT_EVERY):
            last = min(first + REPORT_EVERY, len(schedule))
            path.run(schedule, first, last)
            done = int(schedule.steps[last])
            mean = path.loss / done
            if not np.isfinite(mean):
                raise TrainingError(
                    f"the loss is {mean} in epoch {epoch} after {done} events: lower --learning-rate "
                    f"(it is {config.learning_rate}) or --momentum ({config.momentum})"
                )
            if progress is not None:
                trained = (epoch - 1) * sessions.pairs + done
                progress(Progress(epoch, last == len(schedule), trained, total, mean, time.perf_counter() - began))
        losses.append(path.loss / sessions.pairs)
    path.write()
    if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
        raise TrainingError(f"the weights are no longer numbers: lower --learning-rate (it is {config.learning_rate})")
    return FitResult(losses, total, time.perf_counter() - began)
