"""Giant sessions and endless new items: memory and time of a batch stay bounded."""

import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.worker.test_recommender import Stream, model, stream
from worker.live_metrics import LiveEvaluation, ShadowComparison
from worker.popular import PopularItems
from worker.recommender import Label, PairedLabel

MILLION = 1_000_000


def fastest(call: Callable[[], object], times: int = 9) -> float:
    """CPU seconds of the fastest of some calls: other processes delay only some of them."""
    took = []
    for _ in range(times):
        begin = time.process_time()
        call()
        took.append(time.process_time() - begin)
    return min(took)


def grown(during: Iterable[object]) -> int:
    """Bytes that are held after the iteration in addition to those before it."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in during:
            pass
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_a_session_of_a_million_clicks_keeps_a_small_state_and_its_speed() -> None:
    feed = stream(None)

    def thousand(first: int = 0) -> None:
        feed.click(*[("s", (first + place) % 5000) for place in range(1000)])

    at_first = fastest(thousand)
    for first in range(0, MILLION, 1000):
        thousand(first)
    assert len(feed.packed[b"s"]) < 1000
    assert feed.state("s").history == [item % 5000 for item in range(MILLION - 50, MILLION)]
    assert fastest(thousand) < 5 * at_first


def test_a_giant_session_costs_a_model_the_same_in_every_batch(tmp_path: Path) -> None:
    feed = stream(model(tmp_path, hidden=8))

    def hundred() -> None:
        feed.click(*[("s", place % 300) for place in range(100)])

    hundred()
    at_first, size = fastest(hundred), len(feed.packed[b"s"])
    for _ in range(30):
        hundred()
    assert len(feed.packed[b"s"]) < size + 16
    assert fastest(hundred) < 5 * at_first


def unknown_clicks(feed: Stream, first: int, count: int) -> Iterable[object]:
    for item in range(first, first + count, 500):
        yield feed.click(*[(f"s{place % 50}", 1_000_000 + item + place) for place in range(500)])


def test_endless_unknown_items_leave_nothing_behind_in_the_recommender(tmp_path: Path) -> None:
    feed = stream(model(tmp_path, hidden=8))
    list(unknown_clicks(feed, 0, 5_000))
    assert grown(unknown_clicks(feed, 5_000, 20_000)) < 500_000


def test_endless_different_items_are_counted_in_bounded_memory() -> None:
    popular = PopularItems(capacity=20_000)
    popular.add([-1] * 5)
    thousands = (popular.add(list(range(first, first + 1000))) for first in range(0, 400_000, 1000))
    for _ in range(30):
        next(thousands)
    assert grown(thousands) < 5_000_000
    items, counts = popular.top()
    assert (items[0], counts[0], len(items)) == (-1, 5.0, 20)


def test_listing_the_popular_items_does_not_take_longer_with_more_items() -> None:
    few, many = PopularItems(), PopularItems()
    many.add(list(range(190_000)))

    def one_click(popular: PopularItems) -> None:
        popular.add([7])
        popular.top()

    assert fastest(lambda: one_click(many), 50) < 50 * fastest(lambda: one_click(few), 50)


@pytest.mark.parametrize("capacity", [40, 200_000])
def test_the_list_is_that_of_all_counts(capacity: int) -> None:
    popular, counts = PopularItems(capacity), dict.fromkeys(range(30), 0)
    for batch in range(50):
        items = [(batch * batch + place * place) % 30 for place in range(7)]
        popular.add(items)
        for item in items:
            counts[item] += 1
        listed, scores = popular.top()
        assert scores == sorted(map(float, filter(None, counts.values())), reverse=True)[:20]
        assert scores == [float(counts[item]) for item in listed]


def test_live_figures_of_many_clicks_take_no_more_memory_than_of_one() -> None:
    live, comparison = LiveEvaluation(), ShadowComparison()
    labels = [Label("v1", "model", 3), Label("v1", "popular", 0)]
    duels = [PairedLabel(f"s{number}".encode(), labels[0], Label("v2", "model", 1)) for number in range(100)]
    live.add(labels)
    comparison.add(duels)
    rest = ((live.add(labels), comparison.add(duels)) for _ in range(2_000))
    assert grown(rest) < 10_000
    assert set(live.result()) == {("v1", "model"), ("v1", "popular")}
