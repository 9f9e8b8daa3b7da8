"""A neighbourhood model, for serving: every click searches the neighbours of its session's last items.

Sizes in the shape comments: Q queries, I items, k best items.
"""

import numpy as np
from numpy.typing import NDArray

from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from rankers.contract import Advanced, Clicks, Mask, Memory, Needs, Top
from rankers.neighbours.method import NeighboursConfig
from rankers.neighbours.search import best_items, scores_of_items
from rankers.neighbours.session_index import SessionIndex
from schemas.recommendation import TOP


class NeighboursRanker:
    """See `rankers.contract.Ranker`. It keeps no memory and computes on the CPU; queries are `Prefixes`.

    Args:
        config: the method and its settings.
        index: of the training sessions.
        items: the item of each row.
    """

    def __init__(self, config: NeighboursConfig, index: SessionIndex, items: ItemIndex) -> None:
        self.items = items
        self.needs = Needs(history=config.window, memory=0)
        newest = min(config.newest, len(index.of_session) - 1)
        self._search = (index, config.weights(index), int(config.k), int(newest))
        self._all = np.ones((1, len(items)), dtype=bool)

    def rebuild(self, histories: Prefixes) -> Memory:
        """Only `seen` is set: the sessions that have a known item."""
        return Memory.only_seen(histories)

    def advance(self, clicks: Clicks, memory: Memory) -> Advanced:
        """The last clicks of the session of each ranked click."""
        prefixes, ranked = clicks.prefixes(self.needs.history)
        memory.seen[clicks.session] = ranked  # of each session's last click
        return Advanced(prefixes, ranked, memory)

    def best(self, queries: Prefixes, k: int, allowed: Mask | None = None) -> Top:
        """The items of the neighbours, and after them items with score 0 in the order of their rows."""
        top = Top(np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, dtype=np.float32))
        may = self._all if allowed is None else np.atleast_2d(allowed)
        best_items(queries.items, queries.offsets, *self._search, may, top.rows, top.scores)
        return top

    def scores(self, queries: Prefixes, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """0 for an item of no neighbour."""
        rows = np.arange(len(self.items)) if rows is None else rows
        scores = np.empty((len(queries), len(rows)), dtype=np.float32)
        scores_of_items(queries.items, queries.offsets, *self._search, rows, scores)
        return scores

    def warm_up(self, largest_batch: int) -> None:  # noqa: ARG002
        """Compiles the search; its time and memory do not depend on the batch."""
        one = Prefixes(np.zeros(1, dtype=np.int64), np.array([0, 1]))
        self.best(one, min(TOP, len(self.items)))
