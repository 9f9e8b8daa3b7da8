"""Sessions of the log are the worker's sessions."""

import numpy as np
import polars as pl
import pytest
import torch

from clicklog.filters import filter_clicks
from clicklog.index import index_log
from clicklog.items import ItemIndex
from clicklog.log import ClickLog
from clicklog.sessions import cut_by_silence, sessions_of
from rankers.bundle import read_bundle
from schemas.errors import TrainingError
from tests.worker.deployment import ITEMS, bundle
from worker.recommender import PendingClick, Recommender
from worker.serving_model import ServingModel
from worker.session_state import new_session, unpack

GAP = 1_000


def clicks(count: int = 2_000, seed: int = 0) -> pl.DataFrame:
    """Clicks as they arrive: gaps of all lengths, some clicks late."""
    rng = np.random.default_rng(seed)
    moment = np.cumsum(rng.integers(0, 30, count)) + rng.integers(-300, 300, count)
    return pl.DataFrame(
        {
            "session_id": rng.integers(0, 60, count),
            "item_id": rng.integers(0, ITEMS, count),
            "timestamp": 1_000_000 + moment,
        }
    )


def log_of(frame: pl.DataFrame, partitions: int = 3) -> ClickLog:
    log = ClickLog("a log", None, None, numbers={"session_id": True, "item_id": True})
    whole = frame.with_row_index("offset").with_columns(pl.col("offset").cast(pl.Int64))
    log._parts = {
        number: [whole.filter(pl.col("session_id") % partitions == number).lazy()] for number in range(partitions)
    }
    return log


def test_a_session_begins_where_it_begins_in_the_worker(tmp_path: object) -> None:
    frame = clicks()
    model = ServingModel(read_bundle(bundle(tmp_path / "b")), torch.device("cpu"))  # type: ignore[operator]
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
    """Lengths of the sessions of one session id, from the length of its history after each click."""
    following = [*histories[1:], 1]
    return [length for length, after in zip(histories, following, strict=True) if after == 1]


def test_the_log_and_the_table_give_the_same_sessions() -> None:
    frame = clicks(20_000).with_columns(pl.col("item_id") % 97).sort("timestamp", maintain_order=True)
    table = filter_clicks(cut_by_silence(frame, GAP), min_support=5, min_length=2)
    index = ItemIndex.of(table)
    expected = sessions_of(table, index)
    indexed = index_log(log_of(frame), GAP, min_support=5, min_length=2)
    assert (sorted(indexed.index.ids), indexed.clicks) == (sorted(index.ids), len(frame))
    assert dict(zip(indexed.index.ids, indexed.index.support, strict=True)) == dict(
        zip(index.ids, index.support, strict=True)
    )

    def named(sessions: object, ids: object) -> list[tuple[int, ...]]:
        s = sessions
        return sorted(
            tuple(ids[i] for i in s.items[a:b])
            for a, b in zip(s.offsets[:-1], s.offsets[1:], strict=True)  # type: ignore[attr-defined,index]
        )

    assert named(indexed.sessions, indexed.index.ids) == named(expected, index.ids)
    assert np.array_equal(indexed.index.support, np.sort(indexed.index.support)[::-1])


def test_a_log_of_which_nothing_is_left() -> None:
    with pytest.raises(TrainingError, match="none of 50 clicks is left"):
        index_log(log_of(clicks(50)), GAP, min_support=40)
