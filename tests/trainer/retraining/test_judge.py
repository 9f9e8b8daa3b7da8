"""Judging: ranks of the same next clicks by every method, and the confidence interval of their difference."""

import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions, sessions_of
from rankers.baselines import make_baseline
from rankers.bundle import Bundle
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from schemas.settings import Settings
from trainer.config import TrainConfig
from trainer.retraining.candidate import Candidate
from trainer.retraining.holdout import Holdout
from trainer.retraining.judge import Events, Ranked, difference, judge, rank_by_baseline, rank_by_bundle
from trainer.retraining.outcome import Accepted, DecisionDraft, Refused
from trainer.retraining.reading import Reading
from trainer.retraining.resume_point import ResumePoint


def bundle(items: list[int], seed: int = 0) -> Bundle:
    torch.manual_seed(seed)
    network = GRU4Rec(NetworkConfig(len(items), hidden=8)).eval().requires_grad_(False)
    return Bundle("v", network, ItemIndex(list(items), np.arange(len(items), 0, -1)))


def ranks_one_by_one(model: Bundle, sessions: list[list[int]]) -> list[float]:
    """Like the worker: one step per known click; popular items before the first known click."""
    ranks = []
    for session in sessions:
        state, alive = model.model.initial_state(1), False
        for item, following in itertools.pairwise(session):
            if item in model.items.row_of:
                state, alive = model.model.step(torch.tensor([model.items.row_of[item]]), state), True
            row = model.items.row_of.get(following)
            if row is None:
                ranks.append(np.inf)
            elif alive:
                scores = model.model.scores(state[:, -1])[0]
                ranks.append(float((scores >= scores[row]).sum()))
            else:
                ranks.append(float(np.flatnonzero(model.items.popular == row)[0] + 1))
    return ranks


def test_events_are_ranked_as_the_worker_would_answer_them() -> None:
    rng = np.random.default_rng(0)
    model = bundle(list(range(40)))
    sessions = [rng.integers(0, 60, rng.integers(1, 9)).tolist() for _ in range(200)]
    frame = pl.DataFrame(
        {
            "session_id": np.repeat(np.arange(200), [len(session) for session in sessions]),
            "item_id": np.concatenate(sessions),
        }
    )
    events = Events.of(frame)
    ranked = rank_by_bundle(model, events)
    assert len(events) == len(ranked.rank) == sum(len(session) - 1 for session in sessions)
    assert ranked.rank.tolist() == ranks_one_by_one(model, [session for session in sessions if len(session) > 1])


def test_baselines_are_ranked_on_the_same_events() -> None:
    index = ItemIndex([10, 11, 12], np.array([3, 2, 1]))
    popular = make_baseline("pop")
    popular.fit(Sessions(np.array([0, 1, 0, 1, 0, 2]), np.array([0, 2, 4, 6])), 3)
    events = Events.of(pl.DataFrame({"session_id": [1, 1, 1, 2, 2, 3], "item_id": [10, 11, 99, 98, 12, 10]}))
    assert rank_by_baseline(popular, index, events).rank.tolist() == [2, np.inf, 3]


def test_the_interval_holds_the_difference_and_tells_noise_from_gain() -> None:
    rng = np.random.default_rng(1)
    session = np.repeat(np.arange(500), 4)
    base = np.where(rng.random(2000) < 0.5, 1.0, np.inf)
    same = difference(Ranked(base, session), Ranked(base, session))
    assert (same.value, same.low, same.high) == (0, 0, 0)
    better = np.where((base == np.inf) & (rng.random(2000) < 0.2), 5.0, base)
    gain = difference(Ranked(better, session), Ranked(base, session))
    assert 0 < gain.low < gain.value < gain.high
    other = np.where(rng.random(2000) < 0.5, 1.0, np.inf)
    noise = difference(Ranked(other, session), Ranked(base, session))
    assert noise.low < 0 < noise.high


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, "not surely better than v by more than 0: +0.0000"),
        ({"retrain_margin": -0.1}, "not surely better than popularity by more than 0: -"),
        ({"retrain_margin": -0.1, "retrain_release": "shadow"}, "shadow"),
        ({"retrain_margin": 0.1, "retrain_release": "shadow"}, "not surely better than v by more than 0.1"),
    ],
)
def test_the_rule_refuses_or_accepts_and_leaves_the_bundle_alone(changes: dict[str, Any], end: str) -> None:
    """An untrained candidate against itself: equal to the serving model, and worse than popularity."""
    rng = np.random.default_rng(0)
    items = rng.zipf(1.5, 2000).clip(max=60)
    frame = pl.DataFrame({"session_id": np.repeat(np.arange(400), 5), "item_id": items, "timestamp": np.arange(2000)})
    index = ItemIndex(list(range(1, 61)), np.bincount(items, minlength=61)[1:])
    torch.manual_seed(0)
    network = GRU4Rec(NetworkConfig(60, hidden=8)).eval().requires_grad_(False)
    model = Bundle("v", network, index)
    reading = Reading(TrainConfig(), None, model, None, frame, "", {}, ResumePoint(0, 0, {}, None, {}))
    draft = DecisionDraft("m")
    candidate = Candidate(model, {}, "full", index, sessions_of(frame, index))
    settings = Settings(_env_file=None, **changes)
    said: list[str] = []
    result = judge(candidate, reading, Holdout(frame, frame, 400), settings, draft, said.append)
    if isinstance(result, Accepted):
        assert result.release == end
        assert result.judgement == draft.judgement
    else:
        assert isinstance(result, Refused)
        assert end in result.reason
    assert draft.judgement is not None
    assert draft.judgement.over["serving"].value == 0
    assert (draft.judgement.sessions, draft.judgement.events) == (400, 1600)
    assert [line.split()[0] for line in said] == ["candidate", "serving", "popularity", "vs-knn"]
    assert model.metrics == {}
