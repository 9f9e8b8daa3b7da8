"""Ids that come as numbers and as texts: labels, answers, popular items, and states of older workers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from clicklog.items import ItemIndex
from rankers.bundle import Bundle
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from schemas.click import ItemId
from tests.worker.test_recommender import Stream, stream
from worker.serving_model import ServingModel
from worker.session_state import ModelState, pack

ITEMS = 60
Form = Callable[[int], ItemId]
FORMS = pytest.mark.parametrize(("first", "second"), [(int, str), (str, int), (str, str), (int, int)])


def serving(ids: list[Any], version: str = "v1", seed: int = 0) -> ServingModel:
    torch.manual_seed(seed)
    network = GRU4Rec(NetworkConfig(items=len(ids), hidden=16)).eval()
    support = np.arange(len(ids), 0, -1)
    return ServingModel(Bundle(version, network, ItemIndex(ids, support)), torch.device("cpu"))


def ranks(feed: Stream) -> list[int]:
    return [label.rank for label in feed.outcome.labels]


def hit_of(form: Form, trained: Form) -> ItemId:
    """The third item that is recommended after a click on item 7."""
    (answer,) = stream(serving([trained(item) for item in range(ITEMS)])).click(("s", form(7)))
    assert answer is not None
    return answer.items[2]


@pytest.mark.parametrize("trained", [int, str])
@FORMS
def test_a_click_in_either_form_is_the_label_of_an_answer_to_either_form(
    trained: Form, first: Form, second: Form
) -> None:
    feed = stream(serving([trained(item) for item in range(ITEMS)]))
    hit = second(int(hit_of(first, trained)))
    feed.click(("s", first(7)))
    feed.click(("s", hit))
    assert ranks(feed) == [3]
    feed.click(("t", first(7)), ("t", hit))
    assert ranks(feed) == [3]


@FORMS
def test_a_shadow_is_compared_in_either_form(first: Form, second: Form) -> None:
    feed = stream(serving(list(range(ITEMS))), shadow=serving([str(item) for item in range(ITEMS)], "v2"))
    hit = second(int(hit_of(first, int)))
    feed.click(("s", first(7)))
    feed.click(("s", hit))
    assert [(duel.champion.rank, duel.shadow.rank) for duel in feed.outcome.duels] == [(3, 3)]


@pytest.mark.parametrize("trained", [int, str])
def test_an_answer_has_the_form_of_its_click(trained: Form) -> None:
    feed = stream(serving([trained(item) for item in range(ITEMS)]))
    number, text, unknown, unknown_text = feed.click(("a", 7), ("b", "7"), ("c", 999), ("d", "999"))
    assert number is not None and text is not None and unknown is not None and unknown_text is not None  # noqa: PT018
    assert {type(item) for item in number.items + unknown.items} == {int}
    assert text.items == [str(item) for item in number.items]
    assert text.scores == number.scores
    assert unknown.source == "popular"
    assert unknown.items[:2] == [0, 1]
    assert unknown_text.items[:2] == ["0", "1"]


def test_the_form_of_a_click_changes_no_state() -> None:
    numbers, texts = stream(serving(list(range(ITEMS)))), stream(serving(list(range(ITEMS))))
    numbers.click(("s", 7), ("s", 8), ("s", 999))
    texts.click(("s", "7"), ("s", "8"), ("s", "999"))
    assert texts.packed == numbers.packed


def test_a_catalogue_of_both_kinds_sends_its_texts_as_they_are() -> None:
    feed = stream(serving([5, "shoe", "007", 9]))
    number, text = feed.click(("a", 5), ("b", "shoe"))
    assert number is not None
    assert text is not None
    assert {*number.items} == {5, 9, "shoe", "007"}
    assert {*text.items} == {"5", "9", "shoe", "007"}


def test_a_padded_number_is_another_item() -> None:
    feed = stream(serving([7, "007", *range(100, 180)]))
    feed.click(("s", "007"))
    feed.click(("t", 7))
    assert feed.state("s").served.memory != feed.state("t").served.memory
    assert (feed.state("s").history, feed.state("t").history) == (["007"], [7])
    (answer,) = feed.click(("u", "07"))
    assert answer is not None
    assert answer.source == "popular"


@pytest.mark.parametrize(
    ("top", "source", "clicked", "rank"),
    [
        (["3", "4", "5"], "model", 5, 3),
        (["3", "4", "5"], "model", "5", 3),
        ([3, 4, 5], "model", "5", 3),
        ([3, "4", "5"], "popular", "4", 2),
        ([3, "4", "05"], "popular", 5, 0),
        (["3", "4", "05"], "model", "05", 3),
    ],
)
def test_the_answer_stored_by_an_older_worker_is_labelled_in_either_form(
    top: list[Any], source: str, clicked: Any, rank: int
) -> None:
    feed = stream(serving(list(range(ITEMS))))
    feed.click(("s", 1))
    state = feed.state("s")
    state.served = ModelState("v1", b"", top, source)
    state.history = ["1", 2]
    feed.packed[b"s"] = pack(state)
    feed.click(("s", clicked))
    assert ranks(feed) == [rank]


def test_a_history_stored_by_an_older_worker_is_replayed() -> None:
    feed, straight = stream(serving(list(range(ITEMS)))), stream(serving(list(range(ITEMS))))
    feed.click(("s", 1))
    state = feed.state("s")
    state.served, state.history = ModelState("before", b"", ["3"], "model"), ["1", "2"]
    feed.packed[b"s"] = pack(state)
    straight.click(("s", 1), ("s", 2))
    assert feed.click(("s", 3)) == straight.click(("s", 3))


def test_before_the_first_model_both_forms_of_an_item_are_counted_together() -> None:
    feed = stream(None)
    feed.click(("a", 5), ("b", "5"), ("c", 6), ("d", "6"), ("e", 6), ("f", "06"))
    number, text = feed.click(("g", 7), ("h", "7"))
    assert number is not None
    assert text is not None
    assert (number.items, number.scores) == ([6, 5, 7, "06"], [3.0, 2.0, 2.0, 1.0])
    assert text.items == ["6", "5", "7", "06"]
    feed.click(("g", "6"), ("h", 6))
    assert ranks(feed) == [1, 1]
