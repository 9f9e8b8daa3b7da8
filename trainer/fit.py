"""Fitting a network to sessions: session-parallel mini-batches, one step of back-propagation, sampled negatives."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gru4rec.network import GRU4Rec
from schemas.errors import TrainingError
from trainer.config import FitConfig
from trainer.losses import cross_entropy, logq_correction
from trainer.optimiser import Adagrad
from trainer.sampler import NegativeSampler
from trainer.schedule import Schedule, session_parallel
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
) -> FitResult:
    """Train `network` in place, on the device it is on.

    Every (click, next click) pair is trained once an epoch. Hidden states are zero at the start of an epoch and of a
    session, and detached at every step. The loss is summed over the live lanes and divided by the nominal batch
    size, also where fewer lanes are live.

    Negatives are reproducible by `config.seed`; dropout, like the network's start, draws from torch's own generator
    (`torch.manual_seed`).

    Args:
        network: as built, or to be trained further.
        sessions: rows of the network's items.
        support: (I,) int64, training clicks of each item, at least 1.
        config: see there.
        progress: called every few steps and at the end of each epoch.

    Raises:
        TrainingError: there is nothing to train on, or the loss is no longer a number.
    """
    if sessions.pairs == 0:
        raise TrainingError("there is no session of two clicks or more: train on more clicks, or lower --min-support")
    schedule = session_parallel(sessions, config.batch_size)
    sampler = NegativeSampler(support, config.sample_alpha, config.seed)
    step = _Step(network, support, config, sampler)
    total = sessions.pairs * config.epochs
    began = time.perf_counter()
    losses: list[float] = []
    for epoch in range(1, config.epochs + 1):
        state = network.initial_state(config.batch_size)  # (B, L, h)
        summed = torch.zeros((), dtype=torch.float64, device=state.device)
        for number in range(len(schedule)):
            summed += step(schedule, number, state)
            done = int(schedule.steps[number + 1])
            if done == sessions.pairs or number % REPORT_EVERY == 0:
                mean = summed.item() / done
                if not np.isfinite(mean):
                    raise TrainingError(
                        f"the loss is {mean} in epoch {epoch} after {done} events: lower --learning-rate "
                        f"(it is {config.learning_rate}) or --momentum ({config.momentum})"
                    )
                if progress is not None:
                    trained = (epoch - 1) * sessions.pairs + done
                    progress(Progress(epoch, done == sessions.pairs, trained, total, mean, time.perf_counter() - began))
        losses.append(summed.item() / sessions.pairs)
    if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
        raise TrainingError(f"the weights are no longer numbers: lower --learning-rate (it is {config.learning_rate})")
    return FitResult(losses, total, time.perf_counter() - began)


class _Step:
    """One training step: gather the rows of the step's items, score, go back once, and move what was touched."""

    def __init__(
        self, network: GRU4Rec, support: NDArray[np.int64], config: FitConfig, sampler: NegativeSampler
    ) -> None:
        self.network = network
        self.config = config
        self.sampler = sampler
        self.optimiser = Adagrad(config.learning_rate, config.momentum)
        self.device = network.output_weight.device
        self.support = torch.from_numpy(support).to(self.device, network.output_weight.dtype)  # (I,)
        self.dense = list(network.layers.parameters())

    def __call__(self, schedule: Schedule, number: int, state: Tensor) -> Tensor:
        """Train step `number`; advances `state` (B, L, h) in place and returns the summed loss of its rows."""
        now = slice(schedule.steps[number], schedule.steps[number + 1])
        lanes = self._tensor(schedule.lane[now])  # (b,)
        before = state.index_select(0, lanes)  # (b, L, h)
        before[self._tensor(schedule.reset[now])] = 0
        live = len(lanes)

        targets, inputs = schedule.target[now], schedule.input[now]  # (b,) each
        columns = np.concatenate([targets, self.sampler.draw(self.config.samples)])  # (C,)
        network = self.network
        shared = network.embedding is None
        # Each item's row is gathered once, so that autograd sums the gradients of items that occur more than once.
        rows, place = np.unique(np.concatenate([columns, inputs]) if shared else columns, return_inverse=True)
        output_rows, output_place = self._tensor(rows), self._tensor(place)  # (U,), (C,) or (C+b,)
        weight = _leaf(network.output_weight, output_rows)  # (U, h)
        bias = _leaf(network.output_bias, output_rows)  # (U,)
        leaves = [weight, bias]
        if shared:
            x = weight.index_select(0, output_place[len(columns) :])  # (b, h)
        else:
            rows, place = np.unique(inputs, return_inverse=True)
            input_rows, input_place = self._tensor(rows), self._tensor(place)  # (V,), (b,)
            leaves.append(_leaf(network.input_table, input_rows))  # (V, d)
            x = leaves[-1].index_select(0, input_place)  # (b, d)

        after = network.advance(
            x, before, dropout_input=self.config.dropout_embedding, dropout_hidden=self.config.dropout_hidden
        )  # (b, L, h)
        of_column = output_place[: len(columns)]  # (C,)
        scores = torch.addmm(bias, after[:, -1], weight.t()).index_select(1, of_column)  # (b, C)
        correction = None
        if self.config.logq:
            of_item = self.support[output_rows[of_column]]  # (C,)
            correction = logq_correction(of_item, live, self.config.logq, self.config.sample_alpha)
        loss = cross_entropy(scores, correction).sum()  # ()
        gradients = torch.autograd.grad(loss / self.config.batch_size, [*leaves, *self.dense])

        self.optimiser.update_rows(network.output_weight, output_rows, gradients[0])
        scored = torch.zeros(len(output_rows), dtype=torch.bool, device=self.device)  # (U,)
        scored[of_column] = True  # an item that is only clicked has no part in the output bias
        self.optimiser.update_rows(network.output_bias, output_rows[scored], gradients[1][scored])
        if not shared:
            self.optimiser.update_rows(network.input_table, input_rows, gradients[2])
        for parameter, gradient in zip(self.dense, gradients[len(leaves) :], strict=True):
            self.optimiser.update(parameter, gradient)
        state.index_copy_(0, lanes, after.detach())
        return loss.detach()

    def _tensor(self, values: NDArray[np.int64] | NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(values).to(self.device)


def _leaf(table: Tensor, rows: Tensor) -> Tensor:
    return table.detach().index_select(0, rows).requires_grad_()
