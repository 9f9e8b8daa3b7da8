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

from rankers.recurrent import RecurrentNetwork
from trainer.backends.backend import TrainingBackend
from trainer.batches.session_parallel import Schedule
from trainer.config import FitConfig
from trainer.distributed import Process
from trainer.objective.losses import loss_of
from trainer.objective.negatives import NegativeSampler
from trainer.objective.optimisers import optimiser_of


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


class ReferenceBackend(TrainingBackend):
    """Trains a network in place, step by step, by autograd.

    A step gathers the rows of its items, computes the scores and the loss, back-propagates, and updates these rows and
    the layers.

    Of several processes, each computes the scores of its own lanes, against the targets of all lanes.
    """

    def __init__(
        self, network: RecurrentNetwork, support: NDArray[np.int64], config: FitConfig, process: Process
    ) -> None:
        self.network = network
        self.config = config
        self.process = process
        self.sampler = NegativeSampler(support, config.sample_alpha, config.seed)
        self.optimiser = optimiser_of(config)
        self.device = network.output_weight.device
        of_items = torch.from_numpy(support).to(self.device, network.output_weight.dtype)  # (I,)
        self.loss_of = loss_of(config, of_items)
        self.dense = dict(network.layers.named_parameters())
        self.hidden = network.initial_state(config.batch_size)  # (B, L, h)
        self.summed = torch.zeros((), dtype=torch.float64, device=self.device)
        self.events = 0  # of this epoch

    @override
    def begin_epoch(self) -> None:
        self.hidden.zero_()
        self.summed.zero_()
        self.events = 0

    @override
    def run(self, schedule: Schedule, first: int, last: int) -> None:
        self.events = int(schedule.steps[last])
        for number in range(first, last):
            self.summed += self._step(schedule, slice(schedule.steps[number], schedule.steps[number + 1]))

    @property
    @override
    def known(self) -> tuple[int, float]:
        return self.events, self.loss

    @property
    @override
    def loss(self) -> float:
        return self.summed.item()

    @override
    def write(self) -> None:
        """Do nothing: the network is trained in place."""

    @property
    @override
    def state(self) -> dict[str, Tensor]:
        kept = {f"optimiser.{name}": tensor for name, tensor in self.optimiser.state.items()}
        kept |= {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return kept | {"drawn": torch.tensor(self.sampler.drawn)} | random_state(self.device)

    @state.setter
    def state(self, state: dict[str, Tensor]) -> None:
        self.network.load_state_dict(part_of(state, "network."))
        optimiser = part_of(state, "optimiser.")
        self.optimiser.state = {name: tensor.to(self.device) for name, tensor in optimiser.items()}
        self.sampler.drawn = int(state["drawn"])
        set_random_state(state, self.device)

    def _step(self, schedule: Schedule, now: slice) -> Tensor:
        """Train on the events `now`; returns their summed loss, a scalar tensor."""
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
        weight, bias = _leaf(network.output_weight, rows), _leaf(network.output_bias, rows)  # (U, h), (U,)
        if shared:
            x = weight.index_select(0, column[len(columns) :][own])  # (o, h)
            return _StepItems(rows, column[: len(columns)], scored, weight, bias, x)
        clicked, input_places = np.unique(inputs, return_inverse=True)
        input_rows, input_place = self._tensor(clicked), self._tensor(input_places)  # (V,), (b,)
        embedding = _leaf(network.input_table, input_rows)  # (V, d)
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

    def _tensor(self, values: NDArray[np.int64] | NDArray[np.int32] | NDArray[np.bool_]) -> Tensor:
        wide = values if values.dtype == np.bool_ else values.astype(np.int64)
        return torch.from_numpy(wide).to(self.device)


def part_of(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries of a state whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's random generators, for a checkpoint."""
    state = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Restore `random_state`. A GPU that resumes from a CPU's checkpoint keeps its generator's current state."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def _dropout_of(live: int, own: slice) -> Callable[[Tensor, float], Tensor]:
    """Dropout of the `own` rows of a step.

    The mask is drawn for all `live` rows, so that a lane loses the same units with any number of processes.
    """

    def dropout(x: Tensor, rate: float) -> Tensor:
        return x * functional.dropout(x.new_ones(live, *x.shape[1:]), rate)[own]

    return dropout


def _leaf(table: Tensor, rows: Tensor) -> Tensor:
    return table.detach().index_select(0, rows).requires_grad_()
