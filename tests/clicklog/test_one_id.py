"""One item, whether its id comes as a number or as a text."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clicklog.clicks import exact_numbers
from clicklog.columns import ClickColumns
from clicklog.items import ItemIndex
from clicklog.sessions import sessions_of
from schemas.click import canonical_id

LARGEST, SMALLEST = 2**63 - 1, -(2**63)
TEXTS = [
    "", "-", "007", "00", "-0", "-05", "+5", " 5", "5 ", "5\n", "5.0", "1e3", "1_000", "0x1f", "٥", "５", "−5", "--5",
    "shoe", str(LARGEST + 1), str(SMALLEST - 1), "9" * 25, "9" * 256,
]  # fmt: skip


@pytest.mark.parametrize("number", [0, 5, -5, 10**18, LARGEST, SMALLEST])
def test_the_exact_text_of_a_number_is_that_number(number: int) -> None:
    assert canonical_id(str(number)) == canonical_id(number) == number
    assert type(canonical_id(str(number))) is int


@pytest.mark.parametrize("text", TEXTS)
def test_every_other_text_is_an_id_of_its_own(text: str) -> None:
    assert canonical_id(text) == text


@given(st.one_of(st.sampled_from(TEXTS), st.text(max_size=4), st.integers(-(2**65), 2**65).map(str)))
def test_columns_of_ids_follow_the_same_rule(text: str) -> None:
    number = isinstance(canonical_id(text), int)
    assert exact_numbers(pl.Series(["1", text])).dtype == (pl.Int64 if number else pl.String)


def test_items_are_indexed_in_one_form() -> None:
    index = ItemIndex(["7", "x", "007", 5], np.ones(4, dtype=np.int64))
    assert index.ids == [7, "x", "007", 5]
    assert index.texts == ["7", "x", "007", "5"]
    assert [index.row_of.get(item) for item in (7, "7", "x", "007", 5, "5", "07", 70)] == [0, 0, 1, 2, 3, 3, None, None]
    assert index.rows(pl.Series([7, 5, 6])).tolist() == [0, 3, -1]
    assert index.rows(pl.Series(["7", "007", "x", "5", "05"])).tolist() == [0, 2, 1, 3, -1]


def columns_of(*clicks: tuple[Any, Any]) -> ClickColumns:
    columns = ClickColumns()
    columns.add(
        [
            SimpleNamespace(
                key=str(session).encode(),
                value=json.dumps({"session_id": session, "item_id": item, "timestamp": place}).encode(),
                offset=place,
                timestamp=place,
            )  # type: ignore[misc]
            for place, (session, item) in enumerate(clicks)
        ]
    )
    return columns


def test_clicks_of_a_topic_with_both_forms_are_clicks_of_the_same_sessions_on_the_same_items() -> None:
    frame = columns_of((1, 10), ("1", "11"), (2, "10"), ("2", 11), (1, -3)).frame()
    assert frame.select("session_id", "item_id").rows() == [(1, 10), (1, 11), (2, 10), (2, 11), (1, -3)]
    index = ItemIndex.of(frame)
    assert sorted(zip(index.ids, index.support.tolist(), strict=True)) == [(-3, 1), (10, 2), (11, 2)]


def test_one_text_among_numbers_divides_no_item_and_no_session() -> None:
    frame = columns_of((1, 10), ("1", "11"), ("visit", "shoe"), (2, "10"), ("2", 11), ("visit", "007")).frame()
    index = ItemIndex.of(frame)
    assert {item: int(index.support[row]) for row, item in enumerate(index.ids)} == {10: 2, 11: 2, "shoe": 1, "007": 1}
    assert len(sessions_of(frame, index)) == 3
