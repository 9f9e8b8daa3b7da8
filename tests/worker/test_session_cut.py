"""Training cuts sessions where the worker does."""

from pathlib import Path

import numpy as np
import polars as pl
import torch

from clicklog.sessions import cut_by_silence
from rankers.bundle import read_bundle
from tests.worker.deployment import ITEMS, bundle
from worker.recommender import PendingClick, Recommender
from worker.serving_model import ServingModel
from worker.session_state import new_session, unpack

GAP = 1_000


def clicks(count: int = 2_000, seed: int = 0) -> pl.DataFrame:
    """Clicks in order of arrival, with gaps of all lengths and some late clicks."""
    rng = np.random.default_rng(seed)
    moment = np.cumsum(rng.integers(0, 30, count)) + rng.integers(-300, 300, count)
    return pl.DataFrame(
        {
            "session_id": rng.integers(0, 60, count),
            "item_id": rng.integers(0, ITEMS, count),
            "timestamp": 1_000_000 + moment,
        }
    )


def test_a_session_begins_where_it_begins_in_the_worker(tmp_path: Path) -> None:
    frame = clicks()
    model = ServingModel(read_bundle(bundle(tmp_path / "b")), torch.device("cpu"))
    recommender = Recommender(gap_ms=GAP, history=1000, model=model)
    states, lived = {}, {}
    for offset, (session, item, moment) in enumerate(frame.rows()):
        key = str(session).encode()
        state = unpack(states[key]) if key in states else new_session(0)
        outcome = recommender.recommend([PendingClick(0, offset, key, session, item, moment, state)], 0)
        states.update({session_key: packed for (_, session_key), packed in outcome.states.items()})
        lived.setdefault(key, []).append(len(unpack(states[key]).history))
    in_worker = sorted(length for histories in lived.values() for length in _ends(histories))
    numbered = cut_by_silence(frame, GAP)
    assert sorted(numbered["session_id"].rle().struct.field("len").to_list()) == in_worker


def _ends(histories: list[int]) -> list[int]:
    """Lengths of the sessions of one session id, computed from its history length after each click."""
    following = [*histories[1:], 1]
    return [length for length, after in zip(histories, following, strict=True) if after == 1]
