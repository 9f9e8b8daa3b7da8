"""The recommender: session states and clicks in, new states and the top-20 out. Plain torch and numpy, no Faust.

A micro-batch may hold several clicks of one session. They are taken in *rounds*: a session's k-th click of the batch is
in round k, and each round is one forward step for all its sessions. Scoring needs no order, so all clicks of the batch
are scored in one matrix product at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import torch
from torch import Tensor

from clicklog.sessions import starts_anew
from schemas.click import ItemId
from schemas.recommendation import Source
from worker.popular import PopularItems
from worker.serving_model import ServingModel
from worker.session_state import ModelState, SessionState, pack, untouched


class PendingClick(msgspec.Struct, gc=False):
    """A valid click on its way through the worker. `state` is shared by all clicks of one session in a batch."""

    partition: int
    offset: int
    key: bytes
    session_id: ItemId
    item_id: ItemId
    timestamp: int
    state: SessionState


class Answer(msgspec.Struct, gc=False):
    """What is recommended after one click: up to 20 items, best first."""

    items: list[ItemId]
    scores: list[float]
    model_version: str | None
    source: Source


class Label(msgspec.Struct, gc=False):
    """A click as the label of the answer before it in its session: the live evaluation.

    `rank` is 1 for the first recommended item, 0 where the clicked item was not among them.
    """

    model_version: str | None
    source: str
    rank: int


class PairedLabel(msgspec.Struct, gc=False):
    """A click that both the model and its shadow had ranked the items for: evidence of which is better."""

    key: bytes
    champion: Label
    shadow: Label


@dataclass
class Outcome:
    """What a micro-batch came to.

    Attributes:
        answers: one per click, in the order of the batch; None for a click that was answered before (redelivered).
        states: (partition, session key) → packed new state, the sessions of the batch.
        labels: one per click that followed a recommendation in its session, and one more where a shadow model had one.
        duels: one per click that has both labels, of the models of now.
    """

    answers: list[Answer | None]
    states: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    duels: list[PairedLabel] = field(default_factory=list)


@dataclass
class _BatchPlan:
    """A batch laid out for the device: S sessions, N clicks to apply."""

    items: list[ItemId] = field(default_factory=list)  # N
    places: list[int] = field(default_factory=list)  # N, place of each click in the batch
    slots: list[int] = field(default_factory=list)  # N, the click's session
    rounds: list[int] = field(default_factory=list)  # N
    fresh: list[bool] = field(default_factory=list)  # N, whether the session starts anew here
    states: list[SessionState] = field(default_factory=list)  # S
    keys: list[tuple[int, bytes]] = field(default_factory=list)  # S, partition and session key
    before: list[list[ItemId]] = field(default_factory=list)  # S, the history to replay for a model that needs it


class Recommender:
    """Applies micro-batches of clicks to session states.

    Args:
        gap_ms: silence after which a session starts anew, ms.
        history: how many last items a state keeps.
        storage: dtype of hidden states at rest, float32 or float16.
        model: what ranks; None recommends the popular items counted so far. Exchange it between two batches.
        shadow: scored beside the model, for its labels alone; its answers go nowhere.
    """

    def __init__(
        self,
        *,
        gap_ms: int,
        history: int,
        storage: str = "float32",
        model: ServingModel | None = None,
        shadow: ServingModel | None = None,
    ) -> None:
        self.model = model
        self.shadow = shadow
        self._gap_ms = gap_ms
        self._history = history
        self._storage = np.dtype(storage)
        self._popular = PopularItems()

    def recommend(self, batch: Sequence[PendingClick], now_ms: int) -> Outcome:
        """Apply the clicks of a batch in order and answer each.

        Args:
            batch: clicks; those of one session in the order of their offsets, sharing one state.
            now_ms: the worker's clock, stored with the states.
        """
        answers: list[Answer | None] = [None] * len(batch)
        plan = self._plan(batch, now_ms)
        if not plan.items:
            return Outcome(answers)
        found, labels = self._advance(self.model, plan, [state.served for state in plan.states])
        for place, answer in zip(plan.places, found, strict=True):
            answers[place] = answer
        duels = []
        if self.shadow is not None:
            shadow_labels = self._advance(self.shadow, plan, [_shadow_of(state) for state in plan.states])[1]
            duels = self._duels(plan, labels, shadow_labels)
            labels += shadow_labels
        packed = {key: pack(state) for key, state in zip(plan.keys, plan.states, strict=True)}
        return Outcome(answers, packed, [label for label in labels if label is not None], duels)

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
                plan.states.append(state)
                plan.keys.append((click.partition, click.key))
                plan.before.append([] if self._is_up_to_date(state) else history.copy())
                depth.append(0)
            history.append(click.item_id)
            if len(history) > self._history:
                del history[0]
            state.partition, state.offset = click.partition, click.offset
            state.clicked_at, state.stored_at = click.timestamp, now_ms
            plan.items.append(click.item_id)
            plan.places.append(place)
            plan.slots.append(slot)
            plan.rounds.append(depth[slot])
            depth[slot] += 1
            plan.fresh.append(fresh)
        return plan

    def _is_up_to_date(self, state: SessionState) -> bool:
        """Whether the models can go on from the hidden states; also drops what an earlier shadow left."""
        if self.shadow is None:
            state.shadow = None
        elif state.shadow is None or state.shadow.version != self.shadow.version:
            return False
        return state.served.version == (self.model.version if self.model else None)

    def _duels(self, plan: _BatchPlan, champion: list[Label | None], shadow: list[Label | None]) -> list[PairedLabel]:
        versions = (self.model.version if self.model else None, self.shadow.version if self.shadow else None)
        return [
            PairedLabel(plan.keys[slot][1], mine, its)
            for slot, mine, its in zip(plan.slots, champion, shadow, strict=True)
            if mine is not None and its is not None and (mine.model_version, its.model_version) == versions
        ]

    def _advance(
        self, model: ServingModel | None, plan: _BatchPlan, states: list[ModelState]
    ) -> tuple[list[Answer], list[Label | None]]:
        """Bring one model's side of the sessions up to date.

        Returns:
            the answer to each of the N clicks, and the label that each is (None where no answer went before it).
        """
        previous = [(state.top, state.source, state.version) for state in states]
        answers = self._answers_by_popularity(plan, states) if model is None else self._answers_by(model, plan, states)
        labels: list[Label | None] = []
        for item, slot, fresh, answer in zip(plan.items, plan.slots, plan.fresh, answers, strict=True):
            top, source, version = previous[slot]
            follows = top and not fresh
            labels.append(Label(version, source, top.index(item) + 1 if item in top else 0) if follows else None)
            previous[slot] = (answer.items, answer.source, answer.model_version)
        for state, (top, source, _) in zip(states, previous, strict=True):
            state.top, state.source = top, source
        return answers, labels

    def _answers_by_popularity(self, plan: _BatchPlan, states: list[ModelState]) -> list[Answer]:
        self._popular.add(plan.items)
        for state in states:
            state.version, state.hidden = None, b""
        items, scores = self._popular.top()
        return [Answer(items, scores, None, "popular")] * len(plan.items)

    def _answers_by(self, model: ServingModel, plan: _BatchPlan, states: list[ModelState]) -> list[Answer]:
        hidden, alive = self._load(model, plan, states)  # (S, L, h), (S,)
        outputs, by_model = _forward(model, plan, hidden, alive)  # (N, h), (N,)
        stored = hidden.cpu().numpy().astype(self._storage, copy=False)
        for slot, state in enumerate(states):
            state.hidden = stored[slot].tobytes() if alive[slot] else b""
        popular = Answer(model.popular, model.popular_scores, model.version, "popular")
        if not by_model.any():
            return [popular] * len(plan.items)
        if not by_model.all():
            outputs = outputs[model.to_device(by_model)]
        tops, scores = model.best(outputs)
        version = model.version
        ranked = iter([Answer(top, values, version, "model") for top, values in zip(tops, scores, strict=True)])
        return [next(ranked) if by else popular for by in by_model.tolist()]

    def _load(self, model: ServingModel, plan: _BatchPlan, states: list[ModelState]) -> tuple[Tensor, np.ndarray]:
        """The sessions' hidden states (S, L, h) float32 on the device, and whether each has seen a known item (S,).

        Sessions that another model was at are replayed, all of them at once: their k-th items in one step.
        """
        replays: list[tuple[int, list[int]]] = []
        for slot, state in enumerate(states):
            if state.version != model.version:
                state.version, state.hidden = model.version, b""
                rows = [row for item in plan.before[slot] if (row := model.rows.get(item, -1)) >= 0]
                if rows:
                    replays.append((slot, rows))
        hidden = np.zeros((len(states), model.layers, model.hidden), dtype=np.float32)
        alive = np.array([bool(state.hidden) for state in states])
        if alive.any():
            packed = b"".join([state.hidden for state in states])
            hidden[alive] = np.frombuffer(packed, dtype=self._storage).reshape(-1, model.layers, model.hidden)
        device_hidden = model.to_device(hidden)
        for place in range(max((len(rows) for _, rows in replays), default=0)):
            stepping = [(slot, rows[place]) for slot, rows in replays if len(rows) > place]
            slots, items = torch.tensor(stepping, device=model.device).unbind(1)
            device_hidden[slots] = model.step(items, device_hidden[slots])
        alive[[slot for slot, _ in replays]] = True
        return device_hidden, alive


def _forward(model: ServingModel, plan: _BatchPlan, hidden: Tensor, alive: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """Step round after round; `hidden` (S, L, h) and `alive` (S,) are brought up to date.

    Returns:
        (N, h), the output after each click, and (N,), whether the model knows an item of the session by then.
    """
    row_of = model.rows.get
    slots, rounds, fresh = np.array(plan.slots), np.array(plan.rounds), np.array(plan.fresh)
    rows = np.array([row_of(item, -1) for item in plan.items])
    outputs = hidden.new_empty(len(slots), model.hidden)
    by_model = np.empty(len(slots), dtype=bool)
    for turn in range(int(rounds.max()) + 1):
        places = np.flatnonzero(rounds == turn)
        reset = slots[places[fresh[places]]]
        if reset.size:
            hidden[model.to_device(reset)] = 0
            alive[reset] = False
        stepping = places[rows[places] >= 0]
        if stepping.size:
            sessions, items = model.to_device(slots[stepping]), model.to_device(rows[stepping])
            hidden[sessions] = model.step(items, hidden[sessions])
            alive[slots[stepping]] = True
        outputs[model.to_device(places)] = hidden[model.to_device(slots[places]), -1]
        by_model[places] = alive[slots[places]]
    return outputs, by_model


def _shadow_of(state: SessionState) -> ModelState:
    if state.shadow is None:
        state.shadow = untouched(None)
    return state.shadow
