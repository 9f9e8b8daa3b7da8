"""A GRU4Rec network for serving: hidden states advance in rounds, one matrix product gives all scores.

The memory of a session is its hidden state (L, h), flattened. Sizes: B sessions, L layers, h hidden units, I items.
"""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from rankers.contract import Advanced, Clicks, Mask, Memory, Needs, Top
from rankers.graphs import CudaGraphs
from rankers.gru4rec.network import GRU4Rec
from rankers.scoring.output_layer import ROWS, OutputLayer
from rankers.scoring.scorers import DeviceScorer
from schemas.recommendation import TOP

TABLE_BYTES = 256 << 20
"""Limit for the table of input products of all items; reached at 220,000 items with 100 hidden units."""


class GRU4RecRanker:
    """See `rankers.contract.Ranker`. Queries are the last layer's states, (Q, h) on the device.

    Args:
        network: is not changed.
        items: the item of each of its rows.
        device: cpu or cuda.
        scoring: `exact`, or `int8` with float32 re-ranking (on a CPU).
    """

    def __init__(self, network: GRU4Rec, items: ItemIndex, device: torch.device, scoring: str = "exact") -> None:
        self.items = items
        self.needs = needs_of(network)
        self._device = device
        self._layers, self._hidden = network.config.layers, network.config.hidden
        prepared = with_input_products(network)
        if prepared is network and device.type != "cpu":
            prepared = copy.deepcopy(network)  # `to` would move the caller's
        self._network = prepared.to(device)
        weight = network.output_weight.detach().to(device)  # (I, h)
        self._dtype = weight.dtype  # not float32 only in tests
        self.output = OutputLayer(weight, network.output_bias.detach().to(device), scoring)
        self._steps: CudaGraphs | None = None
        self._searches: CudaGraphs | None = None

    def rebuild(self, histories: Prefixes) -> Memory:
        """One step per position: the k-th items of all sessions that are long enough."""
        hidden = self._hidden_states(Memory.empty(len(histories), self.needs))  # (S, L, h)
        lengths = np.diff(histories.offsets)  # (S,)
        for place in range(int(lengths.max(initial=0))):
            going_on = np.flatnonzero(lengths > place)
            sessions = self._to_device(going_on)
            clicked = self._to_device(histories.items[histories.offsets[going_on] + place])
            hidden[sessions] = self.step(clicked, hidden[sessions])
        return Memory(self._to_host(hidden), lengths > 0)

    def advance(self, clicks: Clicks, memory: Memory) -> Advanced:
        """One forward step per round, for all sessions of the round."""
        hidden = self._hidden_states(memory)  # (S, L, h)
        ranked = clicks.follow_seen(memory.seen)
        outputs = hidden.new_empty(len(clicks), self._hidden)  # (N, h)
        for places in clicks.rounds:
            fresh = clicks.session[places[clicks.fresh[places]]]
            if fresh.size:
                hidden[self._to_device(fresh)] = 0
            stepping = places[clicks.rows[places] >= 0]
            if stepping.size:
                sessions = self._to_device(clicks.session[stepping])
                hidden[sessions] = self.step(self._to_device(clicks.rows[stepping]), hidden[sessions])
            outputs[self._to_device(places)] = hidden[self._to_device(clicks.session[places]), -1]
        memory = Memory(self._to_host(hidden), memory.seen)
        return Advanced(outputs if ranked.all() else outputs[self._to_device(ranked)], ranked, memory)

    @torch.inference_mode()  # the inputs of recorded graphs are inference tensors
    def best(self, queries: Tensor, k: int, allowed: Mask | None = None) -> Top:
        """By a recorded search where there is one, else by the output layer."""
        if self._searches is not None and allowed is None and k == min(TOP, len(self.items)):
            rows, scores = (found.cpu().numpy() for found in self._searches(queries))
            return Top(rows, scores)
        return self.output.best(queries, k, allowed)

    def scores(self, queries: Tensor, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """One matrix product."""
        return self.output.scores(queries, rows)

    @torch.inference_mode()
    def step(self, items: Tensor, state: Tensor) -> Tensor:
        """One click for each session: items (B,) int64 and state (B, L, h) to the new state (B, L, h).

        On a GPU the next step overwrites the result: use it before.
        """
        if self._steps is not None:
            return self._steps(items, state)[0]
        rows = items.shape[0]
        padding = -rows % ROWS
        return self._network.step(functional.pad(items, (0, padding)), functional.pad(state, (0, 0, 0, 0, 0, padding)))[
            :rows
        ]

    def warm_up(self, largest_batch: int) -> None:
        """On a GPU this records CUDA graphs first."""
        if isinstance(self.output.scorer, DeviceScorer) and self._device.type == "cuda":
            self._record(self.output.scorer, largest_batch)
        for size in (1, largest_batch):
            session = np.arange(size)
            zeros = np.zeros(size, dtype=np.int64)
            clicks = Clicks(zeros, session, zeros, zeros.astype(bool))
            advanced = self.advance(clicks, Memory.empty(size, self.needs))
            self.best(advanced.queries, min(TOP, len(self.items)))

    @torch.inference_mode()
    def _record(self, scorer: DeviceScorer, largest_batch: int) -> None:
        """Record a step and a search for batch sizes ROWS, 2 · ROWS, 4 · ROWS, … and `largest_batch`."""
        sizes = [size for size in (ROWS << power for power in range(16)) if size < largest_batch] + [largest_batch]
        network, top = self._network, min(TOP, len(self.items))
        state = network.initial_state(1)
        items = torch.zeros(1, dtype=torch.int64, device=state.device)
        self._steps = CudaGraphs(lambda clicked, before: (network.step(clicked, before),), [items, state], sizes)
        self._searches = CudaGraphs(lambda output: scorer.search(output, top), [state[:, -1]], sizes)

    def _hidden_states(self, memory: Memory) -> Tensor:
        values = memory.values.reshape(-1, self._layers, self._hidden)
        return self._to_device(values).to(self._dtype)

    def _to_device(self, array: NDArray[Any]) -> Tensor:
        """An array as a tensor on the device. Pinned memory makes the copy to a GPU asynchronous."""
        tensor = torch.from_numpy(array)
        return tensor if self._device.type == "cpu" else tensor.pin_memory().to(self._device, non_blocking=True)

    def _to_host(self, hidden: Tensor) -> NDArray[np.float32]:
        values: NDArray[np.float32] = hidden.cpu().numpy().astype(np.float32, copy=False).reshape(len(hidden), -1)
        return values


def needs_of(network: GRU4Rec) -> Needs:
    """The hidden state in float32; no history."""
    return Needs(history=0, memory=network.config.layers * network.config.hidden * 4)


def with_input_products(network: GRU4Rec) -> GRU4Rec:
    """The same network with the first layer's input product W x precomputed for every item.

    The result has the form of a network with one-hot input: a step reads the product from a table (I, 3h) float32. A
    network whose table would be larger than TABLE_BYTES is returned unchanged.
    """
    weight = network.layers[0].input_weight
    if not isinstance(weight, Tensor) or network.config.items * weight.shape[1] * 4 > TABLE_BYTES:
        return network
    state = {name: value for name, value in network.state_dict().items() if name != "layers.0.input_weight"}
    state["embedding"] = network.input_table.detach() @ weight.detach()
    with torch.random.fork_rng(devices=[]):
        looked_up = GRU4Rec(replace(network.config, input="one-hot"))
    looked_up.load_state_dict(state, assign=True)
    return looked_up.eval().requires_grad_(False)
