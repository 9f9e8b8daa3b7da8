"""The training step on a GPU; `trainer.backends.reference` explains what it computes."""

import contextlib
from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from clicklog.sessions import Sessions
from rankers.recurrent import RecurrentNetwork
from trainer.backends.autograd import part_of, random_state, set_random_state
from trainer.backends.backend import TrainingBackend
from trainer.backends.cuda_graphs.replay import Replay
from trainer.backends.cuda_graphs.sampler import DeviceSampler
from trainer.batches.session_parallel import Schedule, session_parallel
from trainer.config import FitConfig
from trainer.objective.losses import loss_of
from trainer.objective.negatives import NegativeSampler
from trainer.objective.optimisers import optimiser_of

STEPS = 50
"""Steps whose schedule is copied to the device at once."""

IN_FLIGHT = 16
"""At most this many blocks of steps are in flight; with more, the host waits for the oldest."""


class CudaGraphsBackend(TrainingBackend[Schedule]):
    """Trains a network's layers in place, and copies of its item tables, which `write` copies back.

    The copies have one more row, the spare row. It is the input and target of lanes without a session, and it pads the
    step's unique items. It is 0 and stays 0, because its gradient is 0.

    Sizes in the comments: B lanes, C = B + n_sample columns, M slots for the step's unique items.
    """

    def __init__(self, network: RecurrentNetwork, support: NDArray[np.int64], config: FitConfig) -> None:
        self.network = network
        self.config = config
        self.spare = network.config.items
        self.tables = {
            name: _with_spare(parameter.detach())
            for name, parameter in network.named_parameters()
            if name in network.item_tables
        }
        weight = network.output_weight
        self.device = weight.device
        self.loss_of = loss_of(config, torch.from_numpy(np.append(support, 1)).to(self.device, weight.dtype))
        self.dense = dict(network.layers.named_parameters())
        self.optimiser = optimiser_of(config)
        self.sampler = DeviceSampler(NegativeSampler(support, config.sample_alpha, config.seed), self.device)
        self.hidden = network.initial_state(config.batch_size)  # (B, L, h)
        self.summed = torch.zeros((), dtype=torch.float64, device=self.device)
        self.plan = torch.zeros(STEPS, 4, config.batch_size, dtype=torch.int64, device=self.device)
        self.number = torch.zeros(1, dtype=torch.int64, device=self.device)  # of the next step in the plan
        self.replay = Replay(self._step, self.device)
        self._losses: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()  # losses being copied to the host
        self._known = (0, 0.0)

    @override
    def schedule(self, sessions: Sessions, order: NDArray[np.int64]) -> Schedule:
        return session_parallel(sessions, self.config.batch_size, order)

    @override
    def begin_epoch(self) -> None:
        with self._in_order():
            self.hidden.zero_()
            self.summed.zero_()
        self._losses.clear()
        self._known = (0, 0.0)

    @override
    def run(self, schedule: Schedule, first: int, last: int) -> None:
        """Train the steps; on a GPU this returns before they have finished."""
        with self._in_order():
            for begin in range(first, last, STEPS):
                end = min(begin + STEPS, last)
                self.plan[: end - begin].copy_(self._laid_out(schedule, begin, end), non_blocking=True)
                self.number.zero_()
                self.replay(end - begin)
            self._send_loss(int(schedule.steps[last]))
        if len(self._losses) > IN_FLIGHT and (oldest := self._losses[0][2]) is not None:
            oldest.synchronize()
            _ = self.known

    @property
    @override
    def known(self) -> tuple[int, float]:
        while self._losses and (self._losses[0][2] is None or self._losses[0][2].query()):  # type: ignore[no-untyped-call]
            events, summed, _ = self._losses.popleft()
            self._known = events, summed.item()
        return self._known

    @property
    @override
    def loss(self) -> float:
        with self._in_order():
            return self.summed.item()

    @override
    def write(self) -> None:
        with self._in_order(), torch.no_grad():
            for name, table in self.tables.items():
                self.network.get_parameter(name).copy_(table[:-1])

    @property
    @override
    def state(self) -> dict[str, Tensor]:
        """In the format of `ReferenceBackend`."""
        self.write()
        kept = {f"optimiser.{name}": self._without_spare(name, kept) for name, kept in self.optimiser.state.items()}
        kept |= {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return kept | {"drawn": self.sampler.drawn.cpu()} | random_state(self.device)

    @state.setter
    def state(self, state: dict[str, Tensor]) -> None:
        with self._in_order(), torch.no_grad():
            self.network.load_state_dict(part_of(state, "network."))
            for name, table in self.tables.items():
                table[:-1] = self.network.get_parameter(name)
            self.optimiser.state = {
                name: _with_spare(tensor.to(self.device)) if self._of_items(name) else tensor.to(self.device)
                for name, tensor in part_of(state, "optimiser.").items()
            }
            self.sampler.drawn.copy_(state["drawn"])
        self.replay = Replay(self._step, self.device)  # recorded graphs use the old tensors
        set_random_state(state, self.device)

    def _step(self) -> None:
        """Train the plan's next step."""
        lanes = self.config.batch_size
        input_, target, reset, live = self.plan.index_select(0, self.number)[0].unbind()  # (B,) each
        live = live.bool()
        before = self.hidden.masked_fill(reset.bool()[:, None, None], 0)  # (B, L, h)
        columns = torch.cat([target, self.sampler.draw(self.config.samples)])  # (C,)
        live_columns = torch.cat([live, live.new_ones(self.config.samples)])  # (C,)

        shared = self.network.embedding is None
        rows, place = self._unique(torch.cat([columns, input_]) if shared else columns)  # (M,), (C+B,) or (C,)
        of_column = place[: len(columns)]  # (C,)
        weight, bias = self._leaf("output_weight", rows), self._leaf("output_bias", rows)  # (M, h), (M,)
        leaves = [weight, bias]
        if shared:
            x = weight.index_select(0, place[len(columns) :])  # (B, h)
        else:
            input_rows, input_place = self._unique(input_)  # (B,) each
            leaves.append(self._leaf("embedding", input_rows))  # (B, d)
            x = leaves[-1].index_select(0, input_place)  # (B, d)

        after = self.network.advance(
            x, before, dropout_input=self.config.dropout_embedding, dropout_hidden=self.config.dropout_hidden
        )  # (B, L, h)
        scores = torch.addmm(bias, after[:, -1], weight.t()).index_select(1, of_column)  # (B, C)
        loss = (self.loss_of(scores, rows[of_column], lanes, live_columns) * live).sum()  # ()
        gradients = torch.autograd.grad(loss / lanes, [*leaves, *self.dense.values()])

        scored = torch.zeros_like(rows, dtype=torch.bool).index_fill_(0, of_column, True)  # (M,)
        self.optimiser.update_rows("output_weight", self.tables["output_weight"], rows, gradients[0])
        # Items that are clicked but not scored do not use their output bias: the spare row is updated instead.
        self.optimiser.update_rows(
            "output_bias", self.tables["output_bias"], rows.masked_fill(~scored, self.spare), gradients[1]
        )
        if not shared:
            self.optimiser.update_rows("embedding", self.tables["embedding"], input_rows, gradients[2])
        for (name, parameter), gradient in zip(self.dense.items(), gradients[len(leaves) :], strict=True):
            self.optimiser.update(name, parameter, gradient)
        self.hidden.copy_(after.detach())
        self.summed += loss.detach()
        self.number += 1

    def _unique(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """The unique items, padded with the spare row, and each item's position among them: (N,) to (N,) and (N,)."""
        ordered, order = items.sort()
        begins = torch.ones_like(ordered)
        begins[1:] = ordered[1:] != ordered[:-1]
        slot = begins.cumsum(0) - 1  # (N,)
        rows = torch.full_like(items, self.spare).scatter_(0, slot, ordered)
        return rows, torch.empty_like(slot).scatter_(0, order, slot)

    def _leaf(self, name: str, rows: Tensor) -> Tensor:
        return self.tables[name].index_select(0, rows).requires_grad_()

    def _laid_out(self, schedule: Schedule, first: int, last: int) -> Tensor:
        """The steps' inputs, targets, resets and live lanes: (steps, 4, B) int64."""
        steps = schedule.steps[first : last + 1]
        step = np.repeat(np.arange(last - first), np.diff(steps))
        events = slice(steps[0], steps[-1])
        lane = schedule.lane[events]
        laid = torch.zeros(last - first, 4, self.config.batch_size, dtype=torch.int64, pin_memory=self._pins)
        plan = laid.numpy()
        plan[:, :2] = self.spare
        plan[:, 2] = 1  # a lane without a session is reset at every step, so that its state stays small
        plan[step, 0, lane] = schedule.input[events]
        plan[step, 1, lane] = schedule.target[events]
        plan[step, 2, lane] = schedule.reset[events]
        plan[step, 3, lane] = 1
        return laid

    def _send_loss(self, events: int) -> None:
        """Start copying the loss so far to the host, without waiting for it."""
        summed = torch.empty((), dtype=torch.float64, pin_memory=self._pins)
        summed.copy_(self.summed, non_blocking=True)
        sent = None
        if self.replay.stream is not None:
            sent = torch.cuda.Event()  # type: ignore[no-untyped-call]
            sent.record(self.replay.stream)
        self._losses.append((events, summed, sent))

    @contextlib.contextmanager
    def _in_order(self) -> Iterator[None]:
        """Run device work on the steps' stream, after all work queued before it and before all work queued later."""
        stream = self.replay.stream
        if stream is None:
            yield
            return
        stream.wait_stream(torch.cuda.current_stream(self.device))
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            torch.cuda.current_stream(self.device).wait_stream(stream)

    @property
    def _pins(self) -> bool:
        return self.device.type == "cuda"

    def _of_items(self, name: str) -> bool:
        """Whether a tensor of the optimiser's state has a row for each item."""
        return name.split(".", 1)[1] in self.tables

    def _without_spare(self, name: str, kept: Tensor) -> Tensor:
        return kept[:-1] if self._of_items(name) else kept


def _with_spare(table: Tensor) -> Tensor:
    return torch.cat([table, table.new_zeros(1, *table.shape[1:])])
