"""A network that reads the history, for serving: every click reads its session's last items anew.

Sizes in the shape comments: Q queries, h hidden units, I items.
"""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from rankers.contract import Advanced, Clicks, Mask, Memory, Needs, Top
from rankers.history.network import HistoryNetwork
from rankers.scoring.output_layer import ROWS, OutputLayer
from schemas.recommendation import TOP


class HistoryRanker:
    """See `rankers.contract.Ranker`. It keeps no memory; queries are (Q, h) on the device.

    Sessions are computed in blocks of a fixed shape, so that a session's query does not depend on the others: ROWS
    sessions, padded to 1, 2, 4, 8, … clicks or the window.

    Args:
        network: is not changed.
        items: the item of each of its rows.
        device: cpu or cuda.
        scoring: `exact`, or `int8` with float32 re-ranking (on a CPU).
    """

    def __init__(self, network: HistoryNetwork, items: ItemIndex, device: torch.device, scoring: str = "exact") -> None:
        self.items = items
        self.needs = needs_of(network)
        self._device = device
        # `to` would move the caller's
        self._network = network if device.type == "cpu" else copy.deepcopy(network).to(device)
        self._vectors = self._network.item_vectors.detach()  # (I, h)
        self.output = OutputLayer(self._vectors, self._vectors.new_zeros(len(items)), scoring)

    def rebuild(self, histories: Prefixes) -> Memory:
        """Only `seen` is set: the sessions that have a known item."""
        return Memory.only_seen(histories)

    def advance(self, clicks: Clicks, memory: Memory) -> Advanced:
        """The query after each ranked click, from the session's last items."""
        prefixes, ranked = clicks.prefixes(self.needs.history)
        memory.seen[clicks.session] = ranked  # of each session's last click
        return Advanced(self._queries(prefixes), ranked, memory)

    def best(self, queries: Tensor, k: int, allowed: Mask | None = None) -> Top:
        """By the output layer."""
        return self.output.best(queries, k, allowed)

    def scores(self, queries: Tensor, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """One matrix product."""
        return self.output.scores(queries, rows)

    def warm_up(self, largest_batch: int) -> None:
        """Blocks of every length, and a search for the largest batch."""
        lengths = np.minimum(1 << np.arange(self.needs.history.bit_length() + 1), self.needs.history)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        queries = self._queries(Prefixes(np.zeros(offsets[-1], dtype=np.int64), offsets))  # (lengths, h)
        self.best(queries[:1].expand(largest_batch, -1), min(TOP, len(self.items)))

    @torch.inference_mode()
    def _queries(self, prefixes: Prefixes) -> Tensor:
        """The query after each prefix of at most `needs.history` clicks, (Q, h)."""
        queries = self._vectors.new_empty(len(prefixes), self._vectors.shape[1])  # (Q, h)
        lengths = np.diff(prefixes.offsets)  # (Q,)
        padded = np.minimum(1 << np.ceil(np.log2(lengths)).astype(np.int64), self.needs.history)  # (Q,)
        for length in np.unique(padded).tolist():
            places = np.flatnonzero(padded == length)
            for begin in range(0, len(places), ROWS):
                now = places[begin : begin + ROWS]
                queries[torch.from_numpy(now).to(self._device)] = self._block(prefixes, now, length)
        return queries

    def _block(self, prefixes: Prefixes, places: NDArray[np.int64], length: int) -> Tensor:
        """The queries (len(places), h) of at most ROWS prefixes, padded to `length` clicks."""
        first, last = np.zeros(ROWS, dtype=np.int64), np.zeros(ROWS, dtype=np.int64)
        first[: len(places)] = prefixes.offsets[places]
        last[: len(places)] = prefixes.offsets[places + 1] - 1 - first[: len(places)]
        clicks = prefixes.items[first[:, np.newaxis] + np.minimum(np.arange(length), last[:, np.newaxis])]
        inputs = self._vectors[torch.from_numpy(clicks).to(self._device)]  # (ROWS, length, h)
        return self._network.queries(inputs, torch.from_numpy(last).to(self._device))[: len(places), 0]


def needs_of(network: HistoryNetwork) -> Needs:
    """The window's items; no memory."""
    return Needs(history=network.config.window, memory=0)
