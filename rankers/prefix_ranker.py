"""A ranker for methods that score all items after the last clicks of a session."""

import numpy as np
from numpy.typing import NDArray

from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from rankers.contract import Advanced, Clicks, Mask, Memory, Needs, PrefixScorer, Top
from rankers.scoring.masked import best_allowed


class PrefixRanker:
    """See `rankers.contract.Ranker`. It keeps no memory; queries are `Prefixes`.

    Args:
        method: fitted to sessions of the items.
        items: the item of each of its rows.
        history: number of last items of a session that the method receives.
    """

    def __init__(self, method: PrefixScorer, items: ItemIndex, history: int) -> None:
        self.items = items
        self.needs = Needs(history=history, memory=0)
        self._method = method

    def rebuild(self, histories: Prefixes) -> Memory:
        """Only `seen` is set: the sessions that have a known item."""
        return Memory(np.zeros((len(histories), 0), dtype=np.float32), np.diff(histories.offsets) > 0)

    def advance(self, clicks: Clicks, memory: Memory) -> Advanced:
        """The prefix of each ranked click."""
        prefixes, ranked = clicks.prefixes(self.needs.history)
        memory.seen[clicks.session] = ranked  # of each session's last click
        return Advanced(prefixes, ranked, memory)

    def best(self, queries: Prefixes, k: int, allowed: Mask | None = None) -> Top:
        """From the scores of all items."""
        everything = np.ones(len(self.items), dtype=bool)
        return best_allowed(self.scores(queries), k, everything if allowed is None else allowed)

    def scores(self, queries: Prefixes, rows: NDArray[np.int64] | None = None) -> NDArray[np.floating]:
        """The method's scores."""
        scores = self._method.scores(queries)  # (Q, I)
        return scores if rows is None else scores[:, rows]

    def warm_up(self, largest_batch: int) -> None:
        """One call with the largest batch, which compiles the method's functions."""
        self.scores(Prefixes(np.zeros(largest_batch, dtype=np.int64), np.arange(largest_batch + 1)))
