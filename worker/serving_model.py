"""A bundle made ready to serve: the network and its scorer on the device, item ids at hand."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rankers.bundle import Bundle
from rankers.gru4rec.network import GRU4Rec
from rankers.scoring.scorers import DeviceScorer, QuantisedScorer, exact_scorer
from schemas.click import ItemId
from schemas.recommendation import TOP
from worker.graphs import CudaGraphs

Scoring = Literal["exact", "int8"]

TABLE_BYTES = 256 << 20
"""Most memory for the input products of all items: 220,000 items of 100 hidden units."""

ROWS = 32
"""A step's rows are filled up to a multiple of this on a CPU. A session's result must not depend on what else is in its
batch, so that an answer computed again is the same; but what is left over of a vector register goes through another
sigmoid, and below 4 rows MKL takes another product (`tests/worker/test_recommender.py` holds it)."""


class ServingModel:
    """Steps hidden states and finds the top items of a batch. I items, L layers, h hidden units.

    Attributes:
        version: the bundle's.
        items: how many it knows.
        rows: item id → row of the network.
        top: items in one answer: 20, or all where the model knows fewer.
        popular: the `top` ids of highest support, best first, and their supports: for sessions without a known item.
    """

    def __init__(self, bundle: Bundle, device: torch.device, scoring: Scoring = "exact") -> None:
        self.version = bundle.version
        self.items = len(bundle.items)
        self.rows = bundle.rows
        self.device = device
        self.top = min(TOP, len(bundle.items))
        self.layers, self.hidden = bundle.network.config.layers, bundle.network.config.hidden
        self._ids = np.array(bundle.items, dtype=object)  # (I,)
        self._network = with_input_products(bundle.network).to(device)
        weight = bundle.network.output_weight.detach().to(device)
        bias = bundle.network.output_bias.detach().to(device)
        nearly = scoring == "int8" and device.type == "cpu"
        self._scorer = QuantisedScorer(weight, bias, exact=False) if nearly else exact_scorer(weight, bias)
        self._graphs: _Graphs | None = None
        best = bundle.popular[: self.top].tolist()
        self.popular: list[ItemId] = self._ids[best].tolist()
        self.popular_scores = [float(bundle.support[row]) for row in best]

    def initial_state(self, sessions: int) -> Tensor:
        """Zeros (sessions, L, h) on the device."""
        return self._network.initial_state(sessions)

    def to_device(self, array: NDArray[Any]) -> Tensor:
        """An array as a tensor on the device; to a GPU by pinned memory, so that nobody waits for the copy."""
        tensor = torch.from_numpy(array)
        return tensor if self.device.type == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True)

    @torch.inference_mode()
    def step(self, items: Tensor, state: Tensor) -> Tensor:
        """One click for each session: items (B,) int64 and state (B, L, h) to the new state (B, L, h).

        On a GPU the result is overwritten by the next step: use it before.
        """
        if self._graphs is not None:
            return self._graphs.step(items, state)[0]
        rows = items.shape[0]
        padding = -rows % ROWS
        return self._network.step(functional.pad(items, (0, padding)), functional.pad(state, (0, 0, 0, 0, 0, padding)))[
            :rows
        ]

    @torch.inference_mode()
    def best(self, output: Tensor) -> tuple[list[list[ItemId]], list[list[float]]]:
        """The top items of each session, best first.

        Args:
            output: (B, h), the last layer's state.

        Returns:
            item ids and scores, B lists of `top` each.
        """
        if self._graphs is not None:
            rows, scores = (found.cpu().numpy() for found in self._graphs.search(output))  # (B, top) each
        else:
            rows, scores = self._scorer.best(output, self.top)  # (B, top) each
        ids: list[list[ItemId]] = self._ids[rows].tolist()
        return ids, scores.astype(np.float64).round(4).tolist()

    def warm_up(self, batch: int) -> None:
        """Run a full batch once, so that the first real one after a swap pays for nothing; on a GPU, record graphs."""
        if isinstance(self._scorer, DeviceScorer) and self.device.type == "cuda":
            self._graphs = _Graphs.of(self._network, self._scorer, self.top, batch)
        for size in (1, batch):
            items = torch.zeros(size, dtype=torch.int64, device=self.device)
            self.best(self.step(items, self.initial_state(size))[:, -1])


@dataclass(frozen=True)
class _Graphs:
    """A step (items, state → state) and a search (output → rows, scores) as CUDA graphs."""

    step: CudaGraphs
    search: CudaGraphs

    @classmethod
    @torch.inference_mode()
    def of(cls, network: GRU4Rec, scorer: DeviceScorer, top: int, batch: int) -> "_Graphs":
        """Record for batches of up to `batch` sessions: powers of two from ROWS on, and `batch` itself."""
        sizes = [size for size in (ROWS << power for power in range(16)) if size < batch] + [batch]
        state = network.initial_state(1)
        items = torch.zeros(1, dtype=torch.int64, device=state.device)
        return cls(
            CudaGraphs(lambda clicked, before: (network.step(clicked, before),), [items, state], sizes),
            CudaGraphs(lambda output: scorer.search(output, top), [state[:, -1]], sizes),
        )


def with_input_products(network: GRU4Rec) -> GRU4Rec:
    """The same network with the first layer's input product W x computed once for every item.

    That is the form of a network with one-hot input: a step looks the product up, (I, 3h) float32. Networks whose table
    would be larger than TABLE_BYTES are left as they are.
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
