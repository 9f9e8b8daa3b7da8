"""The interface of every family of models. Code outside this package never checks which family a model belongs to.

A `Ranker` is a bundle loaded on a device. Serving, judging, comparing and the shadow trial use it like this:

    memory = ranker.rebuild(histories)                # after a swap: the sessions' last items, all at once
    advanced = ranker.advance(clicks, memory)         # a micro-batch: one query per click that can be ranked
    top = ranker.best(advanced.queries, 20, None)     # exact top 20

Recurrent families process the clicks in rounds and keep a memory per session. Families that read the last items of a
session (neighbours, attention) keep no memory and receive the session's stored items instead. `Needs` states what a
model needs.

Sizes in the shape comments: N clicks of S sessions, Q queries, I items, m numbers of memory per session.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from schemas.click import ItemId

Queries = Any
"""Returned by `advance`, and read by `best` and `scores` of the same ranker: Q rows. Each ranker chooses the type, so
that they can stay on its device. `len(queries)` is Q, and `queries[a:b]` are queries again."""

Mask = NDArray[np.bool_]
"""The items that may be recommended: (I,) for all queries, or (Q, I) for each."""


@dataclass(frozen=True)
class Needs:
    """What a session must keep for a model. It is part of `bundle.json` and checked when a bundle is loaded.

    Attributes:
        history: number of last items; 0 for a family that needs only its memory.
        memory: bytes of the stored float32 numbers; 0 for a family that reads the history.
    """

    history: int
    memory: int

    @property
    def numbers(self) -> int:
        """m: how many float32 numbers the memory has."""
        return self.memory // 4


@dataclass
class Memory:
    """What a model keeps of S sessions. A function that takes a `Memory` may overwrite it.

    Attributes:
        values: (S, m) float32; zeros for a session that is not `seen`.
        seen: (S,) whether the session has had an item of the model, of a blend: of its network.
    """

    values: NDArray[np.float32]
    seen: NDArray[np.bool_]

    @classmethod
    def empty(cls, sessions: int, needs: Needs) -> "Memory":
        """The memory of sessions before their first click."""
        return cls(np.zeros((sessions, needs.numbers), dtype=np.float32), np.zeros(sessions, dtype=bool))

    @classmethod
    def only_seen(cls, histories: Prefixes) -> "Memory":
        """The memory of sessions with these known rows, for a family that keeps none: whether there is a row."""
        seen = np.diff(histories.offsets) > 0
        return cls(np.zeros((len(seen), 0), dtype=np.float32), seen)


@dataclass(frozen=True)
class Clicks:
    """N clicks of S sessions; the clicks of one session are in order.

    Attributes:
        rows: (N,) int64, the clicked items' rows; -1 for an item that the model does not have.
        session: (N,) int64, from 0 to S - 1.
        round: (N,) int64, from 0: a session's k-th click of the batch is in round k.
        fresh: (N,) whether this click begins a new session, so that the state before it does not count.
        histories: S prefixes, the rows of each session's stored items before its first click here, oldest first; -1 for
            an item that the model does not have. None: no session has any.
        stored: how many of its last items a session stores, unknown ones included; None: all.
    """

    rows: NDArray[np.int64]
    session: NDArray[np.int64]
    round: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    histories: Prefixes | None = None
    stored: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def rounds(self) -> list[NDArray[np.int64]]:
        """For each round the indices of its clicks, ascending."""
        if not self.round.any():  # most batches have one round
            return [np.arange(len(self))] if len(self) else []
        order = np.argsort(self.round, kind="stable")
        ends = np.cumsum(np.bincount(self.round)).tolist()
        return [order[first:end] for first, end in zip([0, *ends], ends, strict=False)]

    def prefixes(self, last: int) -> tuple[Prefixes, NDArray[np.bool_]]:
        """What a family that reads the history reads at each click: the known ones of its session's stored items and
        of the click itself, at most the `last` ones. This does not depend on how the clicks are cut into batches.

        Args:
            last: at least 1.

        Returns:
            one prefix for each click that has a known item, and which clicks these are, (N,).
        """
        nothing = Prefixes(np.empty(0, dtype=np.int64), np.zeros(1, dtype=np.int64))
        before = nothing if self.histories is None else self.histories  # P items
        session = np.concatenate([before.event, self.session])  # (P+N,)
        order = np.argsort(session, kind="stable")  # session by session, oldest first
        session, rows = session[order], np.concatenate([before.items, self.rows])[order]
        begins = np.concatenate([np.zeros(len(before.items), dtype=bool), self.fresh])[order]
        begins[1:] |= session[1:] != session[:-1]
        place = np.arange(len(order))
        start = np.maximum.accumulate(np.where(begins, place, 0))
        if self.stored is not None:
            start = np.maximum(start, place - self.stored)
        known = rows >= 0
        count = np.concatenate([[0], np.cumsum(known)])  # known items before each place
        end = count[1:]
        first = np.maximum(count[start], end - last)

        clicks = np.argsort(order)[len(before.items) :]  # (N,) their places
        ranked = end[clicks] > first[clicks]
        first, end = first[clicks[ranked]], end[clicks[ranked]]
        offsets = np.concatenate([[0], np.cumsum(end - first)])
        read = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], end - first)
        return Prefixes(rows[known][read], offsets), ranked

    def follow_seen(self, seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Update `Memory.seen` in place, for a family that keeps a memory.

        Returns:
            (N,), whether the session has had a known item up to each click; only these clicks are ranked.
        """
        ranked = np.empty(len(self), dtype=bool)
        for places in self.rounds:
            sessions = self.session[places]
            now = (self.rows[places] >= 0) | (seen[sessions] & ~self.fresh[places])
            seen[sessions] = now
            ranked[places] = now
        return ranked


class Advanced(NamedTuple):
    """The result of a batch of clicks.

    Attributes:
        queries: one per ranked click, in the order of the clicks; Q = ranked.sum().
        ranked: (N,) bool, whether the model can answer: the click's session has had an item of the model; in a family
            that reads the history, there is one to read; in a blend, one of its parts can. The others get popular
            items.
        memory: of the S sessions after their last click.
    """

    queries: Queries
    ranked: NDArray[np.bool_]
    memory: Memory


class Top(NamedTuple):
    """The best items of Q queries.

    Attributes:
        rows: (Q, k) int64, best first; -1 where fewer than k items are allowed.
        scores: (Q, k) float32, descending; -inf where the row is -1.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


class Ranker(Protocol):
    """A bundle loaded on a device.

    An answer depends only on its session, not on the other sessions of the batch. On a CPU this holds bit for bit.
    """

    @property
    def needs(self) -> Needs:
        """What a session must keep."""

    @property
    def items(self) -> ItemIndex:
        """The items that are ranked: row i is `items.ids[i]`."""

    def rebuild(self, histories: Prefixes) -> Memory:
        """The memory that these sessions would have if the model had served them from the start of their histories.

        Args:
            histories: known rows of S sessions, oldest first; a history may be empty.
        """

    def advance(self, clicks: Clicks, memory: Memory) -> Advanced:
        """Process clicks.

        Args:
            clicks: of S sessions.
            memory: of the same S sessions before these clicks; it may be overwritten.
        """

    def best(self, queries: Queries, k: int, allowed: Mask | None = None) -> Top:
        """The exact top k, 1 ≤ k ≤ I, among the allowed items (None: all items).

        Queries on a GPU are overwritten by the next `advance`, so call this before it.
        """

    def scores(self, queries: Queries, rows: NDArray[np.int64] | None = None) -> NDArray[np.floating]:
        """The scores of all items (Q, I), or of the given rows (Q, len(rows))."""

    def warm_up(self, largest_batch: int) -> None:
        """Run batches of up to `largest_batch` clicks, so that compilation and allocation do not delay the first real
        batch."""


@runtime_checkable
class BlendingRanker(Ranker, Protocol):
    """A ranker whose answers come from two parts."""

    def best_and_brought(self, queries: Queries, k: int) -> tuple[Top, NDArray[np.float32]]:
        """`best` without a mask, and which part brought each item: (Q, k), the neighbours' share of its score."""


class Family(Protocol):
    """A kind of model: how it is saved, loaded and served. The type of the `model` depends on the family.

    How a model is made, `NetworkFamily` and `CountedFamily` say. Files are safetensors and JSON; nothing is unpickled.
    """

    @property
    def name(self) -> str:
        """The name in `bundle.json` and for `--family`."""

    @property
    def options(self) -> tuple[str, ...]:
        """What the config of a new model has beside the number of items: names of options of a training."""

    def needs(self, model: Any) -> Needs:
        """What a session must keep for the model."""

    def config(self, model: Any) -> dict[str, Any]:
        """Everything that `load` needs in addition to the files, as JSON values."""

    def save(self, model: Any) -> dict[str, bytes]:
        """File name → content."""

    def network_files(self, model: Any) -> tuple[str, ...] | None:
        """Those of the files that a session's memory depends on; None: all, and items.json.

        A model can be counted anew without a change of these files: the sessions' memories stay valid, see
        `rankers.bundle_files.network_digest`.
        """

    def load(self, config: Mapping[str, Any], files: Mapping[str, bytes], items: int) -> Any:
        """Load a saved model.

        Raises:
            BundleError, KeyError, TypeError, ValueError: the files are damaged, or do not match config or item count.
        """

    def ranker(self, model: Any, items: ItemIndex, device: torch.device, scoring: str) -> Ranker:
        """Load the model on a device for serving.

        Args:
            model: is not changed.
            items: the item of each of its rows.
            device: cpu or cuda.
            scoring: `exact`, or `int8` with float32 re-ranking on a CPU.
        """


@runtime_checkable
class NetworkFamily(Family, Protocol):
    """A family whose models are trained, from random weights or from those of a parent."""

    def untrained(self, config: Mapping[str, Any]) -> Any:
        """A model to begin a training with; random weights are drawn from torch's generator."""

    def grown(self, model: Any, before: NDArray[np.int64], seed: int) -> Any:
        """A model for another set of items, with the parent's weights where an item is in both.

        Args:
            model: the parent.
            before: (I',) int64, the row that each item has in the parent; -1 for a new item, whose weights are random.
            seed: of the new rows.
        """


@runtime_checkable
class CountedFamily(Family, Protocol):
    """A family whose models are counted in one pass over the sessions. Nothing is random, and a model for other clicks
    or items is counted anew."""

    def largest_bytes(self, sessions: Sessions, items: int) -> int:
        """The most bytes that the model of these sessions takes in a process that serves it."""

    def count(self, config: Mapping[str, Any], sessions: Sessions) -> Any:
        """Count a model.

        Args:
            config: a value for each of `options`, and `items`.
            sessions: in the order of their first click.

        Raises:
            ValueError: there is no model of this config.
        """


@runtime_checkable
class RefreshableFamily(Family, Protocol):
    """A family whose models can be counted anew while what was trained of them stays."""

    def kept_items(self, model: Any) -> Sequence[ItemId] | None:
        """The items that must keep their rows, the first ones; None: any item can have any row."""

    def recounted(self, model: Any, sessions: Sessions, items: ItemIndex) -> Any:
        """A model with the same settings, counted from these sessions.

        Args:
            model: is not changed.
            sessions: rows of the items, in the order of their first click.
            items: of the new model; `kept_items` are the first ones, in their order.
        """
