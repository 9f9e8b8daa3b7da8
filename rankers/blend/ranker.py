"""A blend, for serving: the network advances, the neighbours read the last clicks, and their scores are merged.

Sizes in the shape comments: Q queries, I items, N rows of the network, h hidden units, k best items.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from rankers.blend.merge import Read, Searched, best_of_both, scores_of_both
from rankers.blend.model import Blend
from rankers.contract import Advanced, Clicks, Mask, Memory, Needs, Ranker, Top
from rankers.scoring.masked import best_allowed
from rankers.scoring.output_layer import OutputLayer
from schemas.recommendation import TOP


class NetworkRanker(Ranker, Protocol):
    """A ranker whose queries are (Q, h) tensors that its output layer scores."""

    @property
    def output(self) -> OutputLayer:
        """The output layer."""


@dataclass(frozen=True)
class BlendQueries:
    """Q queries.

    Attributes:
        states: (Q, h), the network's queries, on its device; zeros where it knows no item of the session.
        known: (Q,) whether it knows one.
        clicks: the last clicks that the neighbours read, possibly none.
    """

    states: Tensor
    known: NDArray[np.bool_]
    clicks: Prefixes

    def __len__(self) -> int:
        return len(self.known)

    def __getitem__(self, part: slice) -> "BlendQueries":
        """The queries of a contiguous range."""
        return BlendQueries(self.states[part], self.known[part], self.clicks[part])


class BlendRanker:
    """See `rankers.contract.Ranker`. The memory is the network's.

    Args:
        model: the blend.
        network: its network, loaded on a device.
        items: the item of each row.

    Attributes:
        network: the network's ranker.
        searched: what the neighbours of a session are searched with.
    """

    def __init__(self, model: Blend, network: NetworkRanker, items: ItemIndex) -> None:
        self.items = items
        config, index = model.neighbours.config, model.neighbours.index
        self.needs = Needs(max(network.needs.history, config.window), network.needs.memory)
        self.network = network
        self._rows = len(model.network_items)  # N
        self._window = config.window
        newest = min(config.newest, len(index.of_session) - 1)
        self.searched = Searched(index, config.weights(index), int(config.k), int(newest))
        self._weight_of_neighbours = float(model.weight)
        self._temperature = float(model.temperature)
        self._scorer = network.output.scorer_with_sums()
        self._weight = network.output.weight.detach().cpu().contiguous().numpy()  # (N, h)
        self._bias = network.output.bias.detach().cpu().contiguous().numpy()  # (N,)

    def rebuild(self, histories: Prefixes) -> Memory:
        """The network's memory after its items of the histories."""
        kept = histories.items < self._rows
        before = np.concatenate([[0], np.cumsum(kept)])
        return self.network.rebuild(Prefixes(histories.items[kept], before[histories.offsets]))

    def advance(self, clicks: Clicks, memory: Memory) -> Advanced:
        """The network advances by its items, and the last clicks are those on all items."""
        read, has_read = clicks.prefixes(self._window)
        queries, known, memory = self.network.advance(self._of_network(clicks), memory)
        ranked = known | has_read
        if not known[ranked].all():
            queries = _spread(queries, known[ranked])
        if not has_read[ranked].all():
            lengths = np.zeros(len(clicks), dtype=np.int64)
            lengths[has_read] = np.diff(read.offsets)
            read = Prefixes(read.items, np.concatenate([[0], np.cumsum(lengths[ranked])]))
        return Advanced(BlendQueries(queries, known[ranked], read), ranked, memory)

    def best(self, queries: BlendQueries, k: int, allowed: Mask | None = None) -> Top:
        """Without a mask from the network's best and the neighbours' items; with a mask from the scores of all."""
        if allowed is not None:
            return best_allowed(self.scores(queries), k, allowed)
        return self.best_and_brought(queries, k)[0]

    def best_and_brought(self, queries: BlendQueries, k: int) -> tuple[Top, NDArray[np.float32]]:
        """See `rankers.contract.BlendingRanker`."""
        network_best, log_sums = self._scorer.best_and_log_sums(queries.states, min(k, self._rows), self._temperature)
        rows, scores = np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k))
        brought = np.empty((len(queries), k), dtype=np.float32)
        best_of_both(
            self._read(queries, log_sums),
            self.searched,
            self._weight_of_neighbours,
            self._temperature,
            queries.states.contiguous().cpu().numpy(),
            self._weight,
            self._bias,
            network_best,
            rows,
            scores,
            brought,
        )
        return Top(rows, scores.astype(np.float32)), brought

    def scores(self, queries: BlendQueries, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """0 for an item that neither part has."""
        read = self._read(queries, self._scorer.best_and_log_sums(queries.states, 1, self._temperature)[1])
        scores = np.empty((len(queries), len(self.items if rows is None else rows)))
        of_network = self.network_scores(queries, rows)
        rows = np.arange(len(self.items)) if rows is None else rows
        scores_of_both(read, self.searched, self._weight_of_neighbours, self._temperature, of_network, rows, scores)
        return scores

    def network_scores(self, queries: BlendQueries, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """The network's scores g of all items (Q, I), or of the rows (Q, len(rows)); -inf for items that it lacks."""
        if rows is None:
            scores = self.network.scores(queries.states)  # (Q, N)
            lacking = len(self.items) - self._rows
            return np.pad(scores, ((0, 0), (0, lacking)), constant_values=-np.inf) if lacking else scores
        scores = np.full((len(queries), len(rows)), -np.inf, dtype=np.float32)
        scores[:, rows < self._rows] = self.network.scores(queries.states, rows[rows < self._rows])
        return scores

    def warm_up(self, largest_batch: int) -> None:
        """The network, and a search."""
        self.network.warm_up(largest_batch)
        zeros = np.zeros(1, dtype=np.int64)
        nothing = Prefixes(np.empty(0, dtype=np.int64), np.zeros(2, dtype=np.int64))
        clicks = Clicks(zeros, zeros, zeros, zeros.astype(bool), nothing)
        queries = self.advance(clicks, Memory.empty(1, self.needs)).queries
        self.best(queries, min(TOP, len(self.items)))

    def _of_network(self, clicks: Clicks) -> Clicks:
        """The clicks with -1 for items that the network does not have."""
        if self._rows == len(self.items):
            return clicks
        histories = clicks.histories
        if histories is not None:
            histories = Prefixes(self._network_rows(histories.items), histories.offsets)
        return replace(clicks, rows=self._network_rows(clicks.rows), histories=histories)

    def _network_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(rows < self._rows, rows, -1)

    def _read(self, queries: BlendQueries, log_sums: NDArray[np.float64]) -> Read:
        return Read(queries.clicks.items, queries.clicks.offsets, queries.known, log_sums)


def _spread(states: Tensor, known: NDArray[np.bool_]) -> Tensor:
    """(Q, h): the states at the known places, zeros at the others."""
    spread = states.new_zeros(len(known), states.shape[1])
    spread[known.nonzero()[0]] = states
    return spread
