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

from gru4rec.sessions import starts_anew
from schemas.click import ItemId
from schemas.recommendation import Source
from worker.model import ServingModel
from worker.popular import PopularItems
from worker.session import SessionState, pack


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


@dataclass
class Outcome:
    """What a micro-batch came to.

    Attributes:
        answers: one per click, in the order of the batch; None for a click that was answered before (redelivered).
        states: session key → packed new state, the sessions of the batch.
        labels: one per click that followed a recommendation in its session.
    """

    answers: list[Answer | None]
    states: dict[bytes, bytes] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)


@dataclass
class _Plan:
    """A batch laid out for the device: S sessions, N clicks to apply."""

    clicks: list[PendingClick] = field(default_factory=list)  # N
    places: list[int] = field(default_factory=list)  # N, place of each click in the batch
    slots: list[int] = field(default_factory=list)  # N, the click's session
    rounds: list[int] = field(default_factory=list)  # N
    rows: list[int] = field(default_factory=list)  # N, the item's row of the network, -1 unknown
    fresh: list[bool] = field(default_factory=list)  # N, whether the session starts anew here
    states: list[SessionState] = field(default_factory=list)  # S
    keys: list[bytes] = field(default_factory=list)  # S
    depth: list[int] = field(default_factory=list)  # S, rounds so far
    replays: dict[int, list[int]] = field(default_factory=dict)  # session → rows of its history, for another model
    previous: list[tuple[list[ItemId], str, str | None]] = field(default_factory=list)  # S, last top, source, version


class Recommender:
    """Applies micro-batches of clicks to session states.

    Args:
        gap_ms: silence after which a session starts anew, ms.
        history: how many last items a state keeps.
        storage: dtype of hidden states at rest, float32 or float16.
        model: what ranks; None recommends the popular items counted so far. Exchange it between two batches.
    """

    def __init__(
        self, *, gap_ms: int, history: int, storage: str = "float32", model: ServingModel | None = None
    ) -> None:
        self.model = model
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
        plan = self._plan(batch, now_ms)
        answers: list[Answer | None] = [None] * len(batch)
        if plan.clicks:
            found = self._answers_by_popularity(plan) if self.model is None else self._answers_by(self.model, plan)
            for place, answer in zip(plan.places, found, strict=True):
                answers[place] = answer
        labels = _label(plan, answers)
        return Outcome(answers, {key: pack(state) for key, state in zip(plan.keys, plan.states, strict=True)}, labels)

    def _plan(self, batch: Sequence[PendingClick], now_ms: int) -> _Plan:
        plan = _Plan()
        version = self.model.version if self.model else None
        row_of = self.model.rows.get if self.model else lambda _item, _default: -1
        slot_of: dict[int, int] = {}
        for place, click in enumerate(batch):
            state = click.state
            if click.offset <= state.offset and click.partition == state.partition:
                continue
            fresh = bool(state.history) and starts_anew(state.clicked_at, click.timestamp, self._gap_ms)
            if fresh:
                state.history = []
            slot = slot_of.get(id(state))
            if slot is None:
                slot = slot_of[id(state)] = len(plan.states)
                plan.states.append(state)
                plan.keys.append(click.key)
                plan.depth.append(0)
                plan.previous.append((state.top, state.source, state.model_version))
                if state.model_version != version:
                    plan.replays[slot] = [row for item in state.history if (row := row_of(item, -1)) >= 0]
                    state.model_version = version
                    state.hidden = b""
            history = state.history
            history.append(click.item_id)
            if len(history) > self._history:
                del history[0]
            state.partition = click.partition
            state.offset = click.offset
            state.clicked_at = click.timestamp
            state.stored_at = now_ms
            plan.clicks.append(click)
            plan.places.append(place)
            plan.slots.append(slot)
            plan.rounds.append(plan.depth[slot])
            plan.depth[slot] += 1
            plan.rows.append(row_of(click.item_id, -1))
            plan.fresh.append(fresh)
        return plan

    def _answers_by_popularity(self, plan: _Plan) -> list[Answer]:
        self._popular.add([click.item_id for click in plan.clicks])
        items, scores = self._popular.top()
        return [Answer(items, scores, None, "popular")] * len(plan.clicks)

    def _answers_by(self, model: ServingModel, plan: _Plan) -> list[Answer]:
        hidden, alive = self._load(model, plan)  # (S, L, h), (S,)
        outputs, by_model = _forward(model, plan, hidden, alive)  # (N, h), (N,)
        stored = hidden.cpu().numpy().astype(self._storage, copy=False)
        for slot, state in enumerate(plan.states):
            state.hidden = stored[slot].tobytes() if alive[slot] else b""
        popular = Answer(model.popular, model.popular_scores, model.version, "popular")
        if not by_model.any():
            return [popular] * len(plan.clicks)
        rows, scores = model.best(outputs[torch.from_numpy(by_model)])
        ranked = iter(zip(rows, scores, strict=True))
        version, ids = model.version, model.ids
        answers = []
        for ranked_by_model in by_model.tolist():
            if ranked_by_model:
                best, values = next(ranked)
                answers.append(Answer(ids(best), values, version, "model"))
            else:
                answers.append(popular)
        return answers

    def _load(self, model: ServingModel, plan: _Plan) -> tuple[Tensor, np.ndarray]:
        """The sessions' hidden states (S, L, h) float32 on the device, and whether each has seen a known item (S,)."""
        hidden = np.zeros((len(plan.states), model.layers, model.hidden), dtype=np.float32)
        alive = np.array([bool(state.hidden) for state in plan.states])
        if alive.any():
            packed = b"".join([state.hidden for state in plan.states])
            hidden[alive] = np.frombuffer(packed, dtype=self._storage).reshape(-1, model.layers, model.hidden)
        device_hidden = torch.from_numpy(hidden).to(model.device)
        replays = sorted(plan.replays.items(), key=lambda replay: -len(replay[1]))
        longest = len(replays[0][1]) if replays else 0
        for place in range(longest):
            stepping = [(slot, rows[place]) for slot, rows in replays if len(rows) > place]
            slots, rows = torch.tensor(stepping, device=model.device).unbind(1)
            device_hidden[slots] = model.step(rows, device_hidden[slots])
        alive[[slot for slot, rows in replays if rows]] = True
        return device_hidden, alive


def _forward(model: ServingModel, plan: _Plan, hidden: Tensor, alive: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """Step round after round; `hidden` (S, L, h) and `alive` (S,) are brought up to date.

    Returns:
        (N, h), the output after each click, and (N,), whether the model knows an item of the session by then.
    """
    slots, rounds = np.array(plan.slots), np.array(plan.rounds)
    rows, fresh = np.array(plan.rows), np.array(plan.fresh)
    outputs = hidden.new_zeros(len(slots), model.hidden)
    by_model = np.zeros(len(slots), dtype=bool)
    for turn in range(int(rounds.max()) + 1):
        places = np.flatnonzero(rounds == turn)
        reset = slots[places[fresh[places]]]
        hidden[torch.from_numpy(reset)] = 0
        alive[reset] = False
        stepping = places[rows[places] >= 0]
        if stepping.size:
            sessions = torch.from_numpy(slots[stepping]).to(model.device)
            items = torch.from_numpy(rows[stepping]).to(model.device)
            hidden[sessions] = model.step(items, hidden[sessions])
            alive[slots[stepping]] = True
        outputs[torch.from_numpy(places)] = hidden[torch.from_numpy(slots[places]), -1]
        by_model[places] = alive[slots[places]]
    return outputs, by_model


def _label(plan: _Plan, answers: list[Answer | None]) -> list[Label]:
    labels = []
    for click, place, slot, fresh in zip(plan.clicks, plan.places, plan.slots, plan.fresh, strict=True):
        items, source, version = plan.previous[slot]
        if items and not fresh:
            rank = items.index(click.item_id) + 1 if click.item_id in items else 0
            labels.append(Label(version, source, rank))
        answer = answers[place]
        assert answer is not None
        plan.previous[slot] = (answer.items, answer.source, answer.model_version)
        state = plan.states[slot]
        state.top, state.source = answer.items, answer.source
    return labels
