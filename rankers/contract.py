"""What every family of models keeps to, so that nothing outside this room asks which family a model is of.

A `Ranker` is a bundle made ready on a device. Serving, judging, comparing and the shadow trial drive it like this:

    memory = ranker.rebuild(histories)                # after a swap: the sessions' last items, all at once
    advanced = ranker.advance(clicks, memory)         # a micro-batch: one query per click that can be ranked
    top = ranker.best(advanced.queries, 20, None)     # exact top 20

Recurrent families read the clicks in rounds and keep a memory per session; families that read the last items of a
session (neighbours, attention) keep none, and are given the session's history instead. `Needs` says which.

Sizes in the shape comments: N clicks of S sessions, Q queries, I items, m numbers of memory per session.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes

Queries = Any
"""What `advance` makes and `best` and `scores` of the same ranker read: Q rows in a form of the ranker's own, so that
they need not leave its device. `len(queries)` is Q, and `queries[a:b]` are queries again."""

Mask = NDArray[np.bool_]
"""(I,) for all queries alike, or (Q, I): the items that may be recommended."""


@dataclass(frozen=True)
class Needs:
    """What a session must keep for a model; stands in `bundle.json`, and is checked when a bundle is loaded.

    Attributes:
        history: last items; 0 for a family that goes on from its memory alone.
        memory: bytes at rest in float32; 0 for a family that reads the history.
    """

    history: int
    memory: int

    @property
    def numbers(self) -> int:
        """m: how many float32 numbers the memory has."""
        return self.memory // 4


@dataclass
class Memory:
    """What a model remembers of S sessions. Whoever is given one may write into it.

    Attributes:
        values: (S, m) float32; zeros for a session that is not `seen`.
        seen: (S,) whether the session has had an item that the model knows. One that has not is answered by popularity.
    """

    values: NDArray[np.float32]
    seen: NDArray[np.bool_]

    @classmethod
    def empty(cls, sessions: int, needs: Needs) -> "Memory":
        """Of sessions before their first click."""
        return cls(np.zeros((sessions, needs.numbers), dtype=np.float32), np.zeros(sessions, dtype=bool))


@dataclass(frozen=True)
class Clicks:
    """N clicks of S sessions, those of one session in their order.

    Attributes:
        rows: (N,) int64, the clicked items' rows; -1 for an item that the model does not know.
        session: (N,) int64, from 0 to S - 1.
        round: (N,) int64, from 0: a session's k-th click of the batch is in round k.
        fresh: (N,) whether the session begins anew with this click.
        histories: known rows of each session before its first click here, oldest first, S of them; None for a family
            that needs no history.
    """

    rows: NDArray[np.int64]
    session: NDArray[np.int64]
    round: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    histories: Prefixes | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def rounds(self) -> list[NDArray[np.int64]]:
        """The places of the clicks of each round, rising."""
        last = int(self.round.max(initial=-1))
        if last == 0:
            return [np.arange(len(self))]
        return [np.flatnonzero(self.round == number) for number in range(last + 1)]

    def prefixes(self, ranked: NDArray[np.bool_], last: int) -> Prefixes:
        """The known items of the session up to and with each ranked click, at most the `last` of them.

        Args:
            ranked: (N,), from `follow_seen`.
            last: at least 1.
        """
        so_far: dict[int, list[int]] = {}
        if self.histories is not None:
            items, offsets = self.histories.items.tolist(), self.histories.offsets.tolist()
            so_far = {number: items[offsets[number] : offsets[number + 1]] for number in set(self.session.tolist())}
        found: list[int] = []
        lengths: list[int] = []
        clicks = zip(self.session.tolist(), self.rows.tolist(), self.fresh.tolist(), ranked.tolist(), strict=True)
        for session, row, fresh, is_ranked in clicks:
            history = [] if fresh else so_far.setdefault(session, [])
            if row >= 0:
                history.append(row)
            so_far[session] = history
            if is_ranked:
                found += history[-last:]
                lengths.append(min(len(history), last))
        return Prefixes(np.array(found, dtype=np.int64), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def follow_seen(self, seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Bring `Memory.seen` up to date in place.

        Returns:
            (N,), whether the session has had a known item by each click: those are the clicks that are ranked.
        """
        ranked = np.empty(len(self), dtype=bool)
        for places in self.rounds():
            sessions = self.session[places]
            now = (self.rows[places] >= 0) | (seen[sessions] & ~self.fresh[places])
            seen[sessions] = now
            ranked[places] = now
        return ranked


class Advanced(NamedTuple):
    """What a batch of clicks came to.

    Attributes:
        queries: of the ranked clicks, in their order; Q = ranked.sum().
        ranked: (N,) clicks whose session has had an item that the model knows.
        memory: of the S sessions after their last click.
    """

    queries: Queries
    ranked: NDArray[np.bool_]
    memory: Memory


class Top(NamedTuple):
    """The best items of Q queries.

    Attributes:
        rows: (Q, k) int64, best first; -1 where fewer than k items are allowed.
        scores: (Q, k) float32, falling; -inf there.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


class PrefixScorer(Protocol):
    """A method that scores all items after the clicks of a session so far: what `rankers.prefix_ranker` makes ready."""

    def scores(self, prefixes: Prefixes) -> NDArray[np.floating]:
        """Score every item after each of the prefixes, higher is better; equal scores are ties, zeros too.

        Returns:
            (N, I), a new array.
        """


class Ranker(Protocol):
    """A bundle made ready on a device.

    An answer depends on its session alone, not on what else is in the batch: bit by bit on a CPU.
    """

    @property
    def needs(self) -> Needs:
        """What a session must keep."""

    @property
    def items(self) -> ItemIndex:
        """The items that are ranked: row i is `items.ids[i]`."""

    def rebuild(self, histories: Prefixes) -> Memory:
        """What the model would remember had it served these sessions from their first click on.

        Args:
            histories: known rows, oldest first, of S sessions; one may be empty.
        """

    def advance(self, clicks: Clicks, memory: Memory) -> Advanced:
        """Take clicks in.

        Args:
            clicks: of S sessions.
            memory: of the same S sessions before these clicks; it is consumed.
        """

    def best(self, queries: Queries, k: int, allowed: Mask | None = None) -> Top:
        """The exact top k, 1 ≤ k ≤ I, among the allowed items (all where None).

        Queries on a GPU are overwritten by the next `advance`: ask before.
        """

    def scores(self, queries: Queries, rows: NDArray[np.int64] | None = None) -> NDArray[np.floating]:
        """The scores of all items (Q, I), or of these rows (Q, len(rows))."""

    def warm_up(self, largest_batch: int) -> None:
        """Run batches of up to so many clicks once, so that the first real one pays for nothing."""


class Family(Protocol):
    """A kind of model: how it is saved, loaded and made ready. `model` is a trained one, of a type of the family's own.

    Nothing is ever unpickled: files are safetensors and JSON.
    """

    @property
    def name(self) -> str:
        """As `bundle.json` and `--family` call it."""

    def needs(self, model: Any) -> Needs:
        """What a session must keep for it."""

    def config(self, model: Any) -> dict[str, Any]:
        """All that `load` needs beside the files, as JSON values."""

    def untrained(self, config: Mapping[str, Any]) -> Any:
        """A model to begin a training with; what is random is drawn from torch's generator."""

    def save(self, model: Any) -> dict[str, bytes]:
        """File name → content."""

    def load(self, config: Mapping[str, Any], files: Mapping[str, bytes], items: int) -> Any:
        """The model again.

        Raises:
            BundleError, KeyError, TypeError, ValueError: the files are damaged, or do not fit config and item count.
        """

    def ranker(self, model: Any, items: ItemIndex, device: torch.device, scoring: str) -> Ranker:
        """The model made ready on a device.

        Args:
            model: is left as it is.
            items: of its rows.
            device: cpu or cuda.
            scoring: `exact`, or `int8` with float32 re-ranking on a CPU.
        """

    def grown(self, model: Any, before: NDArray[np.int64], seed: int) -> Any:
        """A model for other items that begins with what this one has learnt.

        Args:
            model: the parent.
            before: (I',) int64, the row that each item has in the parent; -1 for a new one, which begins afresh.
            seed: of the new rows.
        """
