"""The plain way to train: one readable step by autograd, for every configuration and device.

It is the reference that the compiled kernel is checked against, and what trains on a GPU.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gru4rec.network import GRU4Rec
from trainer.config import FitConfig
from trainer.losses import cross_entropy, logq_correction, pairwise_loss
from trainer.optimiser import optimiser_of
from trainer.sampler import NegativeSampler
from trainer.schedule import Schedule


class AutogradPath:
    """Trains a network in place, step by step: see `trainer.path.Path`.

    A step gathers the rows of its items, scores, goes back once, and moves what was touched.
    """

    def __init__(self, network: GRU4Rec, support: NDArray[np.int64], config: FitConfig) -> None:
        self.network = network
        self.config = config
        self.sampler = NegativeSampler(support, config.sample_alpha, config.seed)
        self.optimiser = optimiser_of(config)
        self.device = network.output_weight.device
        self.support = torch.from_numpy(support).to(self.device, network.output_weight.dtype)  # (I,)
        self.dense = dict(network.layers.named_parameters())
        self.pairwise = None if config.loss == "cross-entropy" else pairwise_loss(config)
        self.hidden = network.initial_state(config.batch_size)  # (B, L, h)
        self.summed = torch.zeros((), dtype=torch.float64, device=self.device)

    def begin_epoch(self) -> None:
        """As `Path`."""
        self.hidden.zero_()
        self.summed.zero_()

    def run(self, schedule: Schedule, first: int, last: int) -> None:
        """As `Path`."""
        for number in range(first, last):
            self.summed += self._step(schedule, slice(schedule.steps[number], schedule.steps[number + 1]))

    @property
    def loss(self) -> float:
        """As `Path`."""
        return self.summed.item()

    def write(self) -> None:
        """As `Path`: the network is trained in place."""

    @property
    def state(self) -> dict[str, Tensor]:
        """As `Path`."""
        kept = {f"optimiser.{name}": tensor for name, tensor in self.optimiser.state.items()}
        kept |= {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        kept |= {"drawn": torch.tensor(self.sampler.drawn), "torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            kept["cuda"] = torch.cuda.get_rng_state(self.device)
        return kept

    @state.setter
    def state(self, state: dict[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}

        self.network.load_state_dict(part("network."))
        self.optimiser.state = {name: tensor.to(self.device) for name, tensor in part("optimiser.").items()}
        self.sampler.drawn = int(state["drawn"])
        torch.set_rng_state(state["torch"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], self.device)

    def _step(self, schedule: Schedule, now: slice) -> Tensor:
        """Train the events `now`; returns the summed loss of their rows."""
        lanes = self._tensor(schedule.lane[now])  # (b,)
        before = self.hidden.index_select(0, lanes)  # (b, L, h)
        before.masked_fill_(self._tensor(schedule.reset[now])[:, None, None], 0)
        live = len(lanes)

        targets, inputs = schedule.target[now], schedule.input[now]  # (b,) each
        columns = np.concatenate([targets, self.sampler.draw(self.config.samples)])  # (C,)
        network = self.network
        shared = network.embedding is None
        # Each item's row is gathered once, so that autograd sums the gradients of items that occur more than once.
        unique, place = np.unique(np.concatenate([columns, inputs]) if shared else columns, return_inverse=True)
        output_rows, output_place = self._tensor(unique), self._tensor(place)  # (U,), (C,) or (C+b,)
        weight = _leaf(network.output_weight, output_rows)  # (U, h)
        bias = _leaf(network.output_bias, output_rows)  # (U,)
        leaves = [weight, bias]
        if shared:
            x = weight.index_select(0, output_place[len(columns) :])  # (b, h)
        else:
            clicked, input_places = np.unique(inputs, return_inverse=True)
            input_rows, input_place = self._tensor(clicked), self._tensor(input_places)  # (V,), (b,)
            leaves.append(_leaf(network.input_table, input_rows))  # (V, d)
            x = leaves[-1].index_select(0, input_place)  # (b, d)

        after = network.advance(
            x, before, dropout_input=self.config.dropout_embedding, dropout_hidden=self.config.dropout_hidden
        )  # (b, L, h)
        of_column = output_place[: len(columns)]  # (C,)
        scores = torch.addmm(bias, after[:, -1], weight.t()).index_select(1, of_column)  # (b, C)
        loss = self._loss(scores, output_rows[of_column], live).sum()  # ()
        gradients = torch.autograd.grad(loss / self.config.batch_size, [*leaves, *self.dense.values()])

        # An item that is only clicked has no part in the output bias.
        scored = torch.from_numpy(np.unique(place[: len(columns)])).to(self.device)  # (≤U,)
        self.optimiser.update_rows("output_weight", network.output_weight, output_rows, gradients[0])
        self.optimiser.update_rows(
            "output_bias", network.output_bias, output_rows[scored], gradients[1].index_select(0, scored)
        )
        if not shared:
            self.optimiser.update_rows("embedding", network.input_table, input_rows, gradients[2])
        for (name, parameter), gradient in zip(self.dense.items(), gradients[len(leaves) :], strict=True):
            self.optimiser.update(name, parameter, gradient)
        self.hidden.index_copy_(0, lanes, after.detach())
        return loss.detach()

    def _loss(self, scores: Tensor, items: Tensor, live: int) -> Tensor:
        """Scores (b, C) of the columns' items (C,) to one loss per row (b,)."""
        if self.pairwise is not None:
            return self.pairwise(scores)
        if not self.config.logq:
            return cross_entropy(scores)
        correction = logq_correction(self.support[items], live, self.config.logq, self.config.sample_alpha)  # (C,)
        return cross_entropy(scores, correction)

    def _tensor(self, values: NDArray[np.int64] | NDArray[np.int32] | NDArray[np.bool_]) -> Tensor:
        wide = values if values.dtype == np.bool_ else values.astype(np.int64)
        return torch.from_numpy(wide).to(self.device)


def _leaf(table: Tensor, rows: Tensor) -> Tensor:
    return table.detach().index_select(0, rows).requires_grad_()
