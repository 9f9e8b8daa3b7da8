"""Settings that shape stored states are changed between restarts: open sessions go on as they should."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.worker.deployment import ITEMS, Deployment, clicks_of
from tests.worker.test_recommender import GAP, NOW, Stream, model, stream

MINUTE = 60_000


def restarted(before: Stream, **options: Any) -> Stream:
    """Another worker that goes on with the stored states of this one."""
    after = stream(before.recommender.model, **options)
    after.packed, after.offset = dict(before.packed), before.offset
    return after


def clicks(seed: int, count: int = 60) -> list[tuple[str, object]]:
    return [(f"s{n % 7}", (n * 31 + seed * 17) % ITEMS if n % 9 else "never seen") for n in range(count)]


@pytest.mark.parametrize(
    "settings",
    [
        [{"state_format": 3}, {"state_format": 2}, {"state_format": 3}],
        [{"history": 50}, {"history": 3}, {"history": 20}],
        [{"history": 3}, {"history": 1}, {"history": 1000}],
        [{"history": 50, "state_format": 3}, {"history": 2, "state_format": 2}, {"history": 50, "state_format": 3}],
    ],
)
def test_format_and_history_change_no_answer(tmp_path: Path, settings: list[dict[str, Any]]) -> None:
    champion, challenger = model(tmp_path), model(tmp_path, "v2", 1, hidden=16)
    feed, straight = stream(champion, **settings[0]), stream(champion)
    feed.recommender.shadow = straight.recommender.shadow = challenger
    for turn, options in enumerate(settings):
        feed = restarted(feed, **options)
        feed.recommender.shadow = challenger
        assert feed.click(*clicks(turn)) == straight.click(*clicks(turn))
        assert feed.outcome.labels == straight.outcome.labels
        assert feed.outcome.duels == straight.outcome.duels
        assert {packed[0] for packed in feed.packed.values()} == {options.get("state_format", 2)}


@pytest.mark.parametrize("state_format", [2, 3])
@pytest.mark.parametrize("precisions", [("float32", "float16", "float32"), ("float16", "float32", "float16")])
def test_after_a_change_of_precision_a_session_goes_on(
    tmp_path: Path, precisions: tuple[str, ...], state_format: int
) -> None:
    feed, straight = stream(model(tmp_path)), stream(model(tmp_path))
    for turn, precision in enumerate(precisions):
        feed = restarted(feed, storage=precision, state_format=state_format)
        for mine, theirs in zip(feed.click(*clicks(turn)), straight.click(*clicks(turn)), strict=True):
            assert mine is not None
            assert theirs is not None
            assert mine.scores == pytest.approx(theirs.scores, abs=0.05)
            assert len(set(mine.items) & set(theirs.items)) >= 18


def test_a_shorter_history_counts_from_the_next_click_on(tmp_path: Path) -> None:
    """The next model rebuilds the memory from as many items as if the history had always been so short."""
    first, second = model(tmp_path, "v1", 0), model(tmp_path, "v2", 1)
    feed, straight = stream(first, history=50), stream(first, history=3)
    for each in (feed, straight):
        each.click(*[("s", item) for item in range(20)])
    feed = restarted(feed, history=3)
    feed.recommender.model = straight.recommender.model = second
    assert feed.click(("s", 30), ("s", 31)) == straight.click(("s", 30), ("s", 31))
    assert feed.state("s").history == [19, 30, 31]


def test_a_longer_history_fills_up(tmp_path: Path) -> None:
    feed = stream(model(tmp_path), history=3)
    feed.click(*[("s", item) for item in range(9)])
    feed = restarted(feed, history=5)
    feed.click(("s", 20))
    assert feed.state("s").history == [6, 7, 8, 20]
    feed.click(*[("s", item) for item in range(30, 34)])
    assert feed.state("s").history == [20, 30, 31, 32, 33]


@pytest.mark.parametrize(("before", "after", "goes_on"), [(30, 10, False), (10, 30, True), (30, 20, True)])
def test_the_new_session_gap_decides_at_the_next_click(tmp_path: Path, before: int, after: int, goes_on: bool) -> None:
    feed = stream(model(tmp_path), gap_ms=before * MINUTE)
    straight = stream(model(tmp_path), gap_ms=GAP)
    for each in (feed, straight):
        each.click(("s", 1, NOW), ("s", 2, NOW))
    feed = restarted(feed, gap_ms=after * MINUTE)
    later = NOW + 20 * MINUTE
    if not goes_on:
        straight = stream(model(tmp_path))
    assert feed.click(("s", 3, later)) == straight.click(("s", 3, later))
    assert feed.state("s").history == ([1, 2, 3] if goes_on else [3])


def test_item_ids_that_become_texts_are_the_same_items(tmp_path: Path) -> None:
    first, second = model(tmp_path, "v1", 0), model(tmp_path, "v2", 1)
    feed, straight = stream(first), stream(first)
    for each in (feed, straight):
        each.click(("s", 1), ("s", 2), ("t", 3))
    as_texts = [replace(answer, items=list(map(str, answer.top))) for answer in straight.click(("s", 4), ("t", 5))]
    assert feed.click(("s", "4"), ("t", "5")) == as_texts
    feed.recommender.model = straight.recommender.model = second  # rebuilds from histories of both types
    of_six, of_seven = straight.click(("s", 6), ("t", 7))
    assert feed.click(("s", 6), ("t", "7")) == [of_six, replace(of_seven, items=list(map(str, of_seven.top)))]


@pytest.mark.slow
@pytest.mark.xdist_group("incidents")
@pytest.mark.usefixtures("compiled_scorer")
@pytest.mark.long
def test_restarts_with_other_settings_answer_as_an_undisturbed_run(deployment: Deployment) -> None:
    deployment.publish()
    restarts: list[tuple[str, dict[str, str]]] = [
        ("w1", {"STATE_FORMAT": "3", "SESSION_HISTORY": "20"}),
        ("w1", {"STATE_FORMAT": "2", "SESSION_HISTORY": "3"}),
        ("empty disk", {"STATE_FORMAT": "3", "SESSION_HISTORY": "50", "SESSION_GAP": "2h"}),
        ("empty disk", {"STATE_FORMAT": "2", "STATE_PRECISION": "float16"}),  # rounds what later answers use
        ("w1", {"STATE_FORMAT": "3"}),
    ]
    exact: set[str] = set()
    for turn, (data, settings) in enumerate(restarts):
        if "STATE_PRECISION" in settings:
            exact = set(deployment.outcome().answers)
        worker = deployment.start(data, **{f"NEXTCLICK_{name}": value for name, value in settings.items()})
        deployment.send([(session, item + turn, moment) for session, item, moment in clicks_of(60, 4)])
        deployment.wait_until_all_answered()
        assert worker.stop() == 0, worker.said[-4000:]
    outcome, (answers, _) = deployment.outcome(), deployment.undisturbed()
    assert outcome.duplicates == 0
    assert not set(outcome.unequal(answers)) & exact
    for click, items in answers.items():
        assert len(set(outcome.answers[click][0]["items"]) & set(items)) >= 17
