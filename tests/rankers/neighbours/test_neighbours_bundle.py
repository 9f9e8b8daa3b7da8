"""What a neighbourhood bundle holds, and what is refused when it is loaded."""

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from rankers.families import counted_family_of
from rankers.neighbours.ranker import NeighboursRanker
from rankers.neighbours.session_index import FILE
from schemas.errors import BundleError

SESSIONS = Sessions(np.array([0, 1, 2, 2, 1, 0, 3, 0]), np.array([0, 3, 6, 8]))
FAMILY = counted_family_of("stan")
MODEL = FAMILY.count({"items": 4}, SESSIONS)


def test_the_index_holds_each_item_of_a_session_once_and_the_newest_sessions_first() -> None:
    index = MODEL.index
    assert index.sessions.tolist() == [2, 1, 0, 1, 0, 1, 0, 2]
    assert index.of_item.tolist() == [0, 3, 5, 7, 8]
    assert index.items.tolist() == [0, 1, 2, 0, 1, 2, 0, 3]
    assert index.positions.tolist() == [0, 1, 2, 2, 1, 0, 1, 0]
    assert index.support.tolist() == [3, 2, 2, 1]
    few = FAMILY.count({"items": 4, "newest": 1}, SESSIONS).index
    assert few.sessions.tolist() == [2, 1, 1, 2]
    assert few.support.tolist() == [3, 2, 2, 1]


def test_a_model_is_not_larger_than_said_before() -> None:
    weights = MODEL.config.weights(MODEL.index)
    size = MODEL.index.nbytes + weights.sessions.nbytes + weights.items.nbytes
    assert size <= FAMILY.largest_bytes(SESSIONS, 4) <= 1.2 * size


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sessions", np.array([2, 1, 0, 1, 0, 1, 0, 3], dtype=np.int32), "points outside of its arrays"),
        ("items", np.array([0, 1, 2, 0, 1, 2, 0, -1], dtype=np.int32), "points outside of its arrays"),
        ("of_session", np.array([0, 5, 3, 8]), "points outside of its arrays"),
        ("of_session", np.array([0, 3, 8, 8]), "points outside of its arrays"),
        ("of_item", np.array([0, 3, 5, 7, 9]), "points outside of its arrays"),
        ("of_item", np.array([0, 3, 8]), "an index of 2 items with 4 different ids"),
        ("positions", np.zeros(7, dtype=np.int16), "points outside of its arrays"),
        ("positions", np.zeros(8, dtype=np.float32), "positions': '1-d float32'"),
        ("others", np.zeros(8, dtype=np.int32), "has the arrays .*others"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(name: str, value: np.ndarray, message: str) -> None:
    files = {FILE: save({**load(FAMILY.save(MODEL)[FILE]), name: value})}
    with pytest.raises(BundleError, match=message):
        FAMILY.load(FAMILY.config(MODEL), files, 4)


def test_an_index_whose_session_lacks_the_item_that_led_to_it_is_read_within_its_arrays() -> None:
    wrong = MODEL.index._replace(items=np.array([0, 1, 2, 0, 1, 2, 0, 1], dtype=np.int32))  # item 3 leads to session 2
    ranker = NeighboursRanker(MODEL.config, wrong, ItemIndex(["a", "b", "c", "d"], np.ones(4, dtype=np.int64)))
    top = ranker.best(Prefixes(np.array([3]), np.array([0, 1])), 4)
    assert sorted(top.rows[0].tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "in its config, k is 0: it must be above 0"),
        ({"items": 5}, "5 items with 4 different ids"),
        ({"age_decay": -1.0}, "in its config, age_decay is -1.0: it must be above 0"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        FAMILY.load({**FAMILY.config(MODEL), **changes}, FAMILY.save(MODEL), 4)
