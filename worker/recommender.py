"""The recommender: session states and clicks in, new states and the top-20 out. Plain numpy, no Faust.

A micro-batch may hold several clicks of one session. They are numbered in *rounds*: a session's k-th click of the batch
is in round k. Each model family decides how it uses rounds, histories and memory (`rankers.contract`). All clicks of
the batch are ranked together at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import msgspec
import numpy as np

from clicklog.prefixes import Prefixes
from clicklog.sessions import starts_anew
from rankers.contract import Clicks, Memory
from schemas.click import ItemId, canonical_id
from worker.answers import Answer, popular_answers, rank_of
from worker.popular import PopularItems
from worker.serving_model import ServingModel
from worker.session_state import ModelState, SessionState, pack, untouched


class PendingClick(msgspec.Struct, gc=False):
    """A valid click that is not answered yet. All clicks of one session in a batch share one `state`.

    A click that is `too_old` is applied to its session without an answer.
    `log` is the incarnation of the click log that `offset` counts in; empty if unknown.
    `key` is the session's (`DecodedClick.session_key`), `received_key` that of the message, which its answer gets.
    """

    partition: int
    offset: int
    key: bytes
    session_id: ItemId
    item_id: ItemId
    timestamp: int
    state: SessionState
    too_old: bool = False
    log: str = ""
    received_key: bytes = b""


class Label(msgspec.Struct, gc=False):
    """A click as the label of the previous answer in its session, for the live evaluation.

    `model_version` is the version that the network of the answering model was trained as, so that counts go on when the
    model is refreshed. `rank` is 1 for the first recommended item, 0 if the clicked item was not recommended.
    """

    model_version: str | None
    source: str
    rank: int


class PairedLabel(msgspec.Struct, gc=False):
    """The labels that one click gives to the model and to its shadow; `key` is the session's key."""

    key: bytes
    champion: Label
    shadow: Label


@dataclass
class Outcome:
    """The result of a micro-batch.

    Attributes:
        answers: one per click, in the order of the batch; None for a redelivered click that was answered before, and
            for one that is too old.
        states: (partition, session key) → packed new state, for each session of the batch with a new click.
        labels: one per click that followed an answer in its session, and one more if it followed one of a shadow model.
        duels: one per click with both labels, if both are of the networks of the current model and shadow.
        too_old: number of clicks that were applied without an answer.
        step_seconds, score_seconds: time for the new memories, and for the best items, of model and shadow together.
    """

    answers: list[Answer | None]
    states: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    duels: list[PairedLabel] = field(default_factory=list)
    too_old: int = 0
    step_seconds: float = 0.0
    score_seconds: float = 0.0


@dataclass
class _BatchPlan:
    """A batch laid out for the device: S sessions, N clicks to apply."""

    items: list[ItemId] = field(default_factory=list)  # N, in the form of `canonical_id`
    as_text: list[bool] = field(default_factory=list)  # N, whether the click's item came as a text
    places: list[int] = field(default_factory=list)  # N, position of each click in the batch
    slots: list[int] = field(default_factory=list)  # N, the click's session
    rounds: list[int] = field(default_factory=list)  # N
    fresh: list[bool] = field(default_factory=list)  # N, whether the session starts anew with this click
    too_old: list[bool] = field(default_factory=list)  # N, whether the click gets no answer
    states: list[SessionState] = field(default_factory=list)  # S
    keys: list[tuple[int, bytes]] = field(default_factory=list)  # S, partition and session key
    before: list[list[ItemId]] = field(default_factory=list)  # S, the history before these clicks


class Recommender:
    """Applies micro-batches of clicks to session states.

    Args:
        gap_ms: silence after which a session starts anew, ms.
        history: how many of its last items a session's state keeps.
        storage: dtype of stored memories, float32 or float16.
        state_format: format of packed states, one of `worker.session_state.FORMATS`.
        model: ranks the items; None recommends the popular items counted so far. Exchange it only between two batches.
        shadow: scored on the same clicks, for its labels only; its answers are not published.
    """

    def __init__(
        self,
        *,
        gap_ms: int,
        history: int,
        storage: str = "float32",
        state_format: int = 2,
        model: ServingModel | None = None,
        shadow: ServingModel | None = None,
    ) -> None:
        self.model = model
        self.shadow = shadow
        self._gap_ms = gap_ms
        self._history = history
        self._storage = np.dtype(storage)
        self._format = state_format
        self._popular = PopularItems()
        self._step_seconds = self._score_seconds = 0.0  # of the present batch

    def recommend(self, batch: Sequence[PendingClick], now_ms: int) -> Outcome:
        """Apply the clicks of a batch in order and answer each.

        Args:
            batch: clicks; those of one session are in offset order and share one state.
            now_ms: time of the worker's clock, ms since 1970 UTC, stored with the states.
        """
        answers: list[Answer | None] = [None] * len(batch)
        plan = self._plan(batch, now_ms)
        if not plan.items:
            return Outcome(answers)
        self._step_seconds = self._score_seconds = 0.0
        found, labels = self._advance(self.model, plan, [state.served for state in plan.states])
        for place, answer, too_old in zip(plan.places, found, plan.too_old, strict=True):
            if not too_old:
                answers[place] = answer
        duels = []
        if self.shadow is not None:
            shadow_labels = self._advance(self.shadow, plan, [_shadow_of(state) for state in plan.states])[1]
            duels = self._duels(plan, labels, shadow_labels)
            labels += shadow_labels
        packed = {key: pack(state, self._format) for key, state in zip(plan.keys, plan.states, strict=True)}
        labels_given = [label for label in labels if label is not None]
        times = self._step_seconds, self._score_seconds
        return Outcome(answers, packed, labels_given, duels, sum(plan.too_old), *times)

    def _plan(self, batch: Sequence[PendingClick], now_ms: int) -> _BatchPlan:
        plan = _BatchPlan()
        slot_of: dict[int, int] = {}
        depth: list[int] = []
        for place, click in enumerate(batch):
            state = click.state
            if click.offset <= state.offset and click.partition == state.partition:
                continue
            history = state.history
            fresh = bool(history) and starts_anew(state.clicked_at, click.timestamp, self._gap_ms)
            if fresh:
                history = state.history = []
            slot = slot_of.get(id(state))
            if slot is None:
                slot = slot_of[id(state)] = len(plan.states)
                del history[: -self._history]  # stored when the setting was larger
                plan.states.append(state)
                plan.keys.append((click.partition, click.key))
                plan.before.append(history.copy())
                if self.shadow is None:
                    state.shadow = None  # of an earlier shadow
                depth.append(0)
            as_text = isinstance(click.item_id, str)
            item = canonical_id(click.item_id) if as_text else click.item_id
            history.append(item)
            if len(history) > self._history:
                del history[0]
            state.partition, state.offset, state.log = click.partition, click.offset, click.log
            state.clicked_at, state.stored_at = click.timestamp, now_ms
            plan.items.append(item)
            plan.as_text.append(as_text)
            plan.places.append(place)
            plan.slots.append(slot)
            plan.rounds.append(depth[slot])
            depth[slot] += 1
            plan.fresh.append(fresh)
            plan.too_old.append(click.too_old)
        return plan

    def _duels(self, plan: _BatchPlan, champion: list[Label | None], shadow: list[Label | None]) -> list[PairedLabel]:
        if self.model is None or self.shadow is None:
            return []
        return [
            PairedLabel(plan.keys[slot][1], mine, its)
            for slot, mine, its in zip(plan.slots, champion, shadow, strict=True)
            if mine is not None
            and its is not None
            and mine.model_version == self.model.network_version
            and its.model_version == self.shadow.network_version
        ]

    def _advance(
        self, model: ServingModel | None, plan: _BatchPlan, states: list[ModelState]
    ) -> tuple[list[Answer], list[Label | None]]:
        """Update one model's states of the sessions.

        Returns:
            an answer to each of the N clicks, also to those that are too old, and the label that each click is (None if
            it followed no answer).
        """
        previous = [(state.top, state.source, state.version) for state in states]
        answers = self._answers_by_popularity(plan, states) if model is None else self._answers_by(model, plan, states)
        labels: list[Label | None] = []
        applied = zip(plan.items, plan.slots, plan.fresh, plan.too_old, answers, strict=True)
        for item, slot, fresh, too_old, answer in applied:
            top, source, version = previous[slot]
            follows = top and not fresh
            counted_as = version if model is None else model.network_version_of(version)
            labels.append(Label(counted_as, source, rank_of(item, top, source)) if follows else None)
            # An answer that is not sent is not judged by the click after it.
            previous[slot] = ([], "", None) if too_old else (answer.top, answer.source, answer.model_version)
        for state, (top, source, _) in zip(states, previous, strict=True):
            state.top, state.source = top, source
        return answers, labels

    def _answers_by_popularity(self, plan: _BatchPlan, states: list[ModelState]) -> list[Answer]:
        self._popular.add(plan.items)
        for state in states:
            state.version, state.memory, state.network_digest = None, b"", ""
        popular = popular_answers(*self._popular.top(), version=None)
        return [popular[as_text] for as_text in plan.as_text]

    def _answers_by(self, model: ServingModel, plan: _BatchPlan, states: list[ModelState]) -> list[Answer]:
        rows = np.array([model.row_of.get(item, -1) for item in plan.items], dtype=np.int64)  # (N,)
        histories = _rows(model, plan.before) if model.ranker.needs.history else None
        clicks = Clicks(
            rows, np.array(plan.slots), np.array(plan.rounds), np.array(plan.fresh), histories, self._history
        )
        begin = perf_counter()
        queries, ranked, memory = model.ranker.advance(clicks, self._recall(model, plan, states))
        self._step_seconds += perf_counter() - begin
        self._remember(model, states, memory)
        popular = model.popular
        if not ranked.any() or all(plan.too_old):
            return [popular[as_text] for as_text in plan.as_text]
        begin = perf_counter()
        answers = model.answers(queries, np.array(plan.as_text)[ranked])
        self._score_seconds += perf_counter() - begin
        kinds = zip(ranked.tolist(), plan.as_text, strict=True)
        return [next(answers) if by_model else popular[as_text] for by_model, as_text in kinds]

    def _recall(self, model: ServingModel, plan: _BatchPlan, states: list[ModelState]) -> Memory:
        """The model's memory of the sessions. Memory of another model is rebuilt, for all such sessions at once."""
        needs = model.ranker.needs
        memory = Memory.empty(len(states), needs)
        if not needs.memory:
            return memory
        kept = [_kept_as(state, model) for state in states]
        for dtype in sorted({name for name in kept if name}):
            slots = [slot for slot, name in enumerate(kept) if name == dtype]
            packed = b"".join([states[slot].memory for slot in slots])
            memory.values[slots] = np.frombuffer(packed, dtype=dtype).reshape(len(slots), -1)
            memory.seen[slots] = True
        stale = [slot for slot, name in enumerate(kept) if name is None and plan.before[slot]]
        if stale:
            rebuilt = model.ranker.rebuild(_rows(model, [plan.before[slot] for slot in stale], known=True))
            memory.values[stale], memory.seen[stale] = rebuilt.values, rebuilt.seen
        return memory

    def _remember(self, model: ServingModel, states: list[ModelState], memory: Memory) -> None:
        stored = memory.values.astype(self._storage, copy=False).tobytes()
        size = len(stored) // len(states)
        version, digest, dtype = model.version, model.network_digest, self._storage.name
        for slot, (state, seen) in enumerate(zip(states, memory.seen.tolist(), strict=True)):
            state.version, state.network_digest, state.dtype = version, digest, dtype
            state.memory = stored[slot * size : slot * size + size] if seen else b""


def _kept_as(state: ModelState, model: ServingModel) -> str | None:
    """The dtype of a memory that the model can use: empty if there is none yet, None if it must be rebuilt.

    The memory of a version with the same network can be used. Format 2 does not have the network's digest: there the
    version tells.
    """
    if state.network_digest:
        same = state.network_digest == model.network_digest
    else:
        same = model.network_version_of(state.version) == model.network_version
    if not same:
        return None
    if not state.memory:
        return ""
    if state.dtype in ("", "float32") and len(state.memory) == model.memory_bytes:
        return "float32"
    return "float16" if state.dtype in ("", "float16") and len(state.memory) == model.memory_bytes // 2 else None


def _rows(model: ServingModel, histories: Sequence[Sequence[ItemId]], *, known: bool = False) -> Prefixes:
    """The row of each item of the histories, -1 for an unknown one; or only the rows of the `known` items."""
    rows = [[model.row_of.get(item, -1) for item in history] for history in histories]
    if known:
        rows = [[row for row in history if row >= 0] for history in rows]
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in rows])]).astype(np.int64)
    return Prefixes(np.array([row for history in rows for row in history], dtype=np.int64), offsets)


def _shadow_of(state: SessionState) -> ModelState:
    if state.shadow is None:
        state.shadow = untouched(None)
    return state.shadow
