"""The reference backend: one readable training step by autograd, for every configuration and device.

The compiled kernel and the CUDA graphs are tested against it. Training on several processes always uses it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from clicklog.sessions import Sessions
from rankers.recurrent import RecurrentNetwork
from trainer.backends.autograd import AutogradBackend, leaf
from trainer.batches.session_parallel import Schedule, session_parallel
from trainer.config import FitConfig
from trainer.distributed import Process


@dataclass(frozen=True)
class _StepItems:
    """The unique items of a step: U that are scored or whose output row is an input, V that are clicked.

    Attributes:
        rows: (U,) int64, rows of the items in the network's output tables.
        column: (C,) int64, position in `rows` of each column's item.
        scored: (≤U,) int64, positions in `rows` of the items that occur in a column.
        weight: (U, h), a leaf tensor.
        bias: (U,), a leaf tensor.
        x: (o, d), input of this process's o lanes.
        input_rows: (V,) int64, rows of the clicked items in the input table; None if input and output share a table.
        embedding: (V, d), a leaf tensor: `input_rows` of the input table; None as well.
    """

    rows: Tensor
    column: Tensor
    scored: Tensor
    weight: Tensor
    bias: Tensor
    x: Tensor
    input_rows: Tensor | None = None
    embedding: Tensor | None = None

    @property
    def leaves(self) -> list[Tensor]:
        """The tensors that gradients are computed for."""
        return [self.weight, self.bias] + ([] if self.embedding is None else [self.embedding])


class ReferenceBackend(AutogradBackend[Schedule]):
    """Trains a recurrent network in place, step by step, by autograd.

    A step gathers the rows of its items, computes the scores and the loss, back-propagates, and updates these rows and
    the layers.

    Of several processes, each computes the scores of its own lanes, against the targets of all lanes.
    """

    def __init__(
        self, network: RecurrentNetwork, support: NDArray[np.int64], config: FitConfig, process: Process
    ) -> None:
        super().__init__(network, support, config)
        self.network: RecurrentNetwork = network
        self.process = process
        self.dense = dict(network.layers.named_parameters())
        self.hidden = network.initial_state(config.batch_size)  # (B, L, h)

    @override
    def schedule(self, sessions: Sessions, order: NDArray[np.int64]) -> Schedule:
        return session_parallel(sessions, self.config.batch_size, order)

    @override
    def begin_epoch(self) -> None:
        super().begin_epoch()
        self.hidden.zero_()

    @override
    def _step(self, schedule: Schedule, number: int) -> Tensor:
        now = slice(schedule.steps[number], schedule.steps[number + 1])
        live = now.stop - now.start  # b
        own = self.process.own(schedule.lane[now], self.config.batch_size)  # o rows of b
        lanes = self._tensor(schedule.lane[now][own])  # (o,)
        before = self.hidden.index_select(0, lanes)  # (o, L, h)
        before.masked_fill_(self._tensor(schedule.reset[now][own])[:, None, None], 0)
        items = self._gather(schedule.input[now], schedule.target[now], own)
        after = self.network.advance(
            items.x,
            before,
            dropout_input=self.config.dropout_embedding,
            dropout_hidden=self.config.dropout_hidden,
            dropout=_dropout_of(live, own),
        )  # (o, L, h)
        scores = torch.addmm(items.bias, after[:, -1], items.weight.t()).index_select(1, items.column)  # (o, C)
        loss = self.loss_of(scores, items.rows[items.column], live, None).sum()  # ()
        leaves = [*items.leaves, *self.dense.values()]
        own_gradients = torch.autograd.grad(loss / self.config.batch_size, leaves)
        loss, *gradients = self.process.sum([loss.detach(), *own_gradients])
        self._update(items, gradients)
        self.hidden.index_copy_(0, lanes, after.detach())
        return loss

    def _gather(self, inputs: NDArray[np.int32], targets: NDArray[np.int32], own: slice) -> _StepItems:
        """Gather the rows of a step's items; inputs and targets are (b,), `own` selects this process's lanes."""
        # This process's targets come first: the losses expect a row's own target on the diagonal.
        targets = np.roll(targets, -own.start)
        columns = np.concatenate([targets, self.sampler.draw(self.config.samples)])  # (C,)
        network = self.network
        shared = network.embedding is None
        # Each item's row is gathered once, so that autograd sums the gradients of an item that occurs several times.
        unique, place = np.unique(np.concatenate([columns, inputs]) if shared else columns, return_inverse=True)
        rows, column = self._tensor(unique), self._tensor(place)  # (U,), (C,) or (C+b,)
        scored = torch.from_numpy(np.unique(place[: len(columns)])).to(self.device)  # (≤U,)
        weight, bias = leaf(network.output_weight, rows), leaf(network.output_bias, rows)  # (U, h), (U,)
        if shared:
            x = weight.index_select(0, column[len(columns) :][own])  # (o, h)
            return _StepItems(rows, column[: len(columns)], scored, weight, bias, x)
        clicked, input_places = np.unique(inputs, return_inverse=True)
        input_rows, input_place = self._tensor(clicked), self._tensor(input_places)  # (V,), (b,)
        embedding = leaf(network.input_table, input_rows)  # (V, d)
        x = embedding.index_select(0, input_place[own])  # (o, d)
        return _StepItems(rows, column, scored, weight, bias, x, input_rows, embedding)

    def _update(self, items: _StepItems, gradients: Sequence[Tensor]) -> None:
        """Update the step's rows and the layers; `gradients` are those of `items.leaves`, then those of the layers."""
        network = self.network
        self.optimiser.update_rows("output_weight", network.output_weight, items.rows, gradients[0])
        # Items that are clicked but not scored do not use their output bias: it is not updated.
        self.optimiser.update_rows(
            "output_bias", network.output_bias, items.rows[items.scored], gradients[1].index_select(0, items.scored)
        )
        if items.input_rows is not None:
            self.optimiser.update_rows("embedding", network.input_table, items.input_rows, gradients[2])
        for (name, parameter), gradient in zip(self.dense.items(), gradients[len(items.leaves) :], strict=True):
            self.optimiser.update(name, parameter, gradient)


def _dropout_of(live: int, own: slice) -> Callable[[Tensor, float], Tensor]:
    """Dropout of the `own` rows of a step.

    The mask is drawn for all `live` rows, so that a lane loses the same units with any number of processes.
    """

    def dropout(x: Tensor, rate: float) -> Tensor:
        return x * functional.dropout(x.new_ones(live, *x.shape[1:]), rate)[own]

    return dropout
