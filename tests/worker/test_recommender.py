"""The recommender without Faust: rounds, gaps, unknown items, model swaps, independence of the batch."""

import itertools
import random
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from rankers.blend.model import Blend
from rankers.bundle import Bundle, read_bundle
from rankers.contract import Clicks, Memory
from rankers.families import FAMILIES, counted_family_of
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from tests.rankers.recent_items import RecentItems, RecentItemsFamily
from tests.worker.deployment import ITEMS, bundle
from worker.recommender import Answer, Outcome, PendingClick, Recommender
from worker.serving_model import ServingModel
from worker.session_state import SessionState, new_session, pack, unpack

GAP = 1_800_000
NOW = 1_700_000_000_000


def model(tmp_path: Path, version: str = "v1", seed: int = 0, **shape: object) -> ServingModel:
    return ServingModel(read_bundle(bundle(tmp_path / version, version, seed, **shape)), torch.device("cpu"))


class Stream:
    """Feeds clicks to a recommender and keeps the states between batches, packed as the worker stores them."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        self.packed: dict[bytes, bytes] = {}
        self.offset = 0
        self.outcome = Outcome([])
        self.too_old = range(0)  # offsets of clicks that get no answer

    def click(self, *clicks: tuple[str, object] | tuple[str, object, int]) -> list[Answer | None]:
        """Apply (session, item, time) clicks as one batch."""
        states: dict[bytes, SessionState] = {}
        batch = []
        for session, item, *moment in clicks:
            key = session.encode()
            if key not in states:
                states[key] = unpack(self.packed[key]) if key in self.packed else new_session(0)
            time = moment[0] if moment else NOW
            too_old = self.offset in self.too_old
            batch.append(PendingClick(0, self.offset, key, session, item, time, states[key], too_old))  # type: ignore[arg-type]
            self.offset += 1
        self.outcome = self.recommender.recommend(batch, NOW)
        self.packed |= {key: packed for (_, key), packed in self.outcome.states.items()}
        return self.outcome.answers

    def state(self, session: str) -> SessionState:
        return unpack(self.packed[session.encode()])


def stream(serving: ServingModel | None, **options: object) -> Stream:
    return Stream(Recommender(**{"gap_ms": GAP, "history": 50, "model": serving} | options))  # type: ignore[arg-type]


@pytest.fixture
def recent_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, RecentItemsFamily.name, RecentItemsFamily())


@pytest.mark.parametrize("shape", [{}, {"layers": 2}, {"input": "one-hot"}, {"input": "embedding"}, {"hidden": 20}])
def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(tmp_path: Path, shape: dict[str, object]) -> None:
    serving = model(tmp_path, **shape)
    rng = random.Random(1)
    clicks = [(f"s{rng.randrange(40)}", rng.randrange(ITEMS)) for _ in range(800)]

    def run(sizes: Iterable[int]) -> tuple[list[Answer | None], dict[bytes, bytes]]:
        feed, answers, place = stream(serving), [], 0
        for size in sizes:
            answers += feed.click(*clicks[place : place + size])
            place += size
            if place >= len(clicks):
                break
        return answers, feed.packed

    singly = run(itertools.repeat(1))
    assert run(itertools.repeat(256)) == singly
    assert run(itertools.cycle([1, 2, 3, 5, 31, 100])) == singly


def test_a_redelivered_click_is_not_applied_again(tmp_path: Path) -> None:
    feed = stream(model(tmp_path))
    feed.click(("s", 1), ("s", 2))
    before = feed.state("s")
    feed.offset = 0
    assert feed.click(("s", 1), ("s", 2)) == [None, None]
    assert feed.outcome.states == {}
    assert feed.state("s") == before


def test_a_redelivered_click_beside_a_new_one_leaves_the_new_one_its_answer(tmp_path: Path) -> None:
    feed, expected = stream(model(tmp_path)), stream(model(tmp_path))
    feed.click(("s", 1))
    feed.offset = 0
    assert feed.click(("s", 1), ("s", 2))[1] == expected.click(("s", 1), ("s", 2))[1]


@pytest.mark.parametrize("state_format", [2, 3])
@pytest.mark.parametrize(("before", "after"), [*itertools.product(["float32", "float16"], repeat=2)])
def test_a_memory_in_either_precision_is_read_and_not_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str, state_format: int
) -> None:
    serving = model(tmp_path)
    feed = stream(serving, storage=before, state_format=state_format)
    feed.click(("s", 1), ("t", 2))
    monkeypatch.setattr(serving.ranker, "rebuild", lambda _histories: pytest.fail("rebuilt"))
    again = stream(serving, storage=after, state_format=state_format)
    again.packed, again.offset = feed.packed, feed.offset
    again.click(("t", 3), ("s", 4))
    assert again.state("s").history == [1, 4]
    assert len(again.state("s").served.memory) == serving.memory_bytes // (2 if after == "float16" else 1)


def test_a_silence_longer_than_the_gap_starts_the_session_anew(tmp_path: Path) -> None:
    feed, fresh = stream(model(tmp_path)), stream(model(tmp_path))
    feed.click(("s", 1, NOW))
    assert feed.click(("s", 2, NOW + GAP + 1)) == fresh.click(("s", 2))
    assert feed.state("s").history == [2]
    assert feed.outcome.labels == []


def test_a_silence_of_the_gap_or_a_late_click_goes_on(tmp_path: Path) -> None:
    feed, straight = stream(model(tmp_path)), stream(model(tmp_path))
    feed.click(("s", 1, NOW))
    feed.click(("s", 2, NOW + GAP))
    late = feed.click(("s", 3, NOW - 10 * GAP))
    straight.click(("s", 1), ("s", 2))
    assert late == straight.click(("s", 3))


def test_a_gap_within_a_batch_resets_that_session_only(tmp_path: Path) -> None:
    feed, one_by_one = stream(model(tmp_path)), stream(model(tmp_path))
    clicks = [("a", 1, NOW), ("b", 2, NOW), ("a", 3, NOW + 2 * GAP), ("b", 4, NOW), ("a", 5, NOW + 2 * GAP)]
    assert feed.click(*clicks) == [one_by_one.click(click)[0] for click in clicks]
    assert feed.packed == one_by_one.packed


def test_an_unknown_item_keeps_the_answer_and_is_remembered(tmp_path: Path) -> None:
    feed = stream(model(tmp_path))
    (before,) = feed.click(("s", 1))
    (after,) = feed.click(("s", 999_999))
    assert before is not None
    assert after == before
    (after,) = feed.click(("s", "never seen"))
    assert after is not None
    assert (after.top, after.scores) == (before.items, before.scores)
    assert after.items == [str(item) for item in before.items]
    assert feed.state("s").history == [1, 999_999, "never seen"]


def test_a_session_of_unknown_items_gets_what_is_popular(tmp_path: Path) -> None:
    feed = stream(model(tmp_path))
    answer, text = feed.click(("s", 999_999), ("t", "never seen"))
    assert answer is not None
    assert text is not None
    assert (answer.source, answer.items[:3], answer.model_version) == ("popular", [0, 1, 2], "v1")
    assert (text.source, text.items[:3], text.model_version) == ("popular", ["0", "1", "2"], "v1")


def test_the_same_item_as_number_and_as_text(tmp_path: Path) -> None:
    (number,), (text,) = stream(model(tmp_path)).click(("s", 17)), stream(model(tmp_path)).click(("s", "17"))
    assert number is not None
    assert text is not None
    assert [int(item) for item in text.items] == number.items
    assert (text.scores, text.source, text.top) == (number.scores, number.source, number.top)


def test_before_the_first_model_the_most_clicked_items_are_recommended() -> None:
    feed = stream(None)
    feed.click(*[(f"s{n}", "often") for n in range(3)], ("t", "rare"))
    (answer,) = feed.click(("u", "rare"))
    assert answer is not None
    assert (answer.items, answer.source, answer.model_version) == (["often", "rare"], "popular", None)


def test_after_a_change_of_model_a_session_goes_on_as_if_it_had_always_served(tmp_path: Path) -> None:
    old, new = model(tmp_path, "v1", 0), model(tmp_path, "v2", 1, hidden=48, layers=2)
    clicks = [(f"s{n % 7}", (n * 31) % ITEMS) for n in range(60)]
    feed, straight = stream(old), stream(new)
    feed.click(*clicks)
    straight.click(*clicks)
    feed.recommender.model = new
    again = [(f"s{n}", n) for n in range(9)]  # s7 and s8 are new sessions
    assert feed.click(*again) == straight.click(*again)
    assert [feed.state(f"s{n}").served for n in range(9)] == [straight.state(f"s{n}").served for n in range(9)]


@pytest.mark.usefixtures("recent_items")
def test_a_change_to_a_model_of_another_family_and_back_loses_no_session(tmp_path: Path) -> None:
    items = ItemIndex(list(range(ITEMS)), np.arange(ITEMS, 0, -1))
    bundle = Bundle("v2", RecentItems.random(ITEMS), items, family=RecentItemsFamily.name)
    recurrent, reading = model(tmp_path), ServingModel(bundle, torch.device("cpu"))
    clicks = [(f"s{n % 7}", (n * 31) % ITEMS if n % 9 else "never seen") for n in range(60)]
    again = [(f"s{n % 9}", n) for n in range(20)]
    feed, straight = stream(recurrent, shadow=reading), stream(reading)
    for batch in (clicks, again):
        feed.click(*batch)
        straight.click(*batch)
    theirs = [label for label in feed.outcome.labels if label.model_version == "v2"]
    assert theirs == straight.outcome.labels
    feed.recommender.model, feed.recommender.shadow = reading, recurrent
    assert feed.click(*again) == straight.click(*again)
    assert feed.state("s1").served.memory == b""
    feed.recommender.model, feed.recommender.shadow = recurrent, None
    recurrent_from_the_start = stream(recurrent)
    for batch in (clicks, again, again):
        recurrent_from_the_start.click(*batch)
    assert feed.click(*again) == recurrent_from_the_start.click(*again)


def blend(directory: Path, *, details: bool = False, scoring: str = "exact") -> ServingModel:
    """A blend of the network of `model(directory)` and of neighbours."""
    network = read_bundle(directory / "v1")
    lengths = np.random.default_rng(1).integers(2, 8, 300)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    sessions = Sessions(np.random.default_rng(2).integers(0, ITEMS, offsets[-1]), offsets)
    neighbours = counted_family_of("stan").count({"items": ITEMS, "k": 5, "newest": 9}, sessions)
    made = Blend("gru4rec", network.model, network.items.ids, "stan", neighbours, 0.4, 2.0)
    return ServingModel(Bundle("v2", made, network.items, "blend"), torch.device("cpu"), scoring, details=details)


def test_a_change_to_a_blend_and_back_loses_no_session(tmp_path: Path) -> None:
    recurrent = model(tmp_path)
    both = blend(tmp_path)
    clicks = [(f"s{n % 7}", (n * 31) % ITEMS if n % 9 else "never seen") for n in range(60)]
    again = [(f"s{n % 9}", n) for n in range(20)]
    feed, straight, from_the_start = stream(recurrent), stream(both), stream(recurrent)
    for one in (feed, straight, from_the_start):
        one.click(*clicks)
    feed.recommender.model = both
    assert feed.click(*again) == straight.click(*again)
    assert [feed.state(f"s{n}").served for n in range(9)] == [straight.state(f"s{n}").served for n in range(9)]
    feed.recommender.model = recurrent
    from_the_start.click(*again)
    assert feed.click(*again) == from_the_start.click(*again)


def test_answers_say_which_part_of_a_blend_brought_each_item_only_if_they_shall(tmp_path: Path) -> None:
    model(tmp_path)
    click = ("s", 3)
    (plain,) = stream(blend(tmp_path)).click(click)
    (told,) = stream(blend(tmp_path, details=True)).click(click)
    assert plain is not None
    assert told is not None
    assert plain.neighbours_share is msgspec.UNSET
    assert (told.items, told.scores) == (plain.items, plain.scores)
    shares = told.neighbours_share
    assert isinstance(shares, list)
    assert len(shares) == len(told.items)
    assert all(0 <= share <= 1 for share in shares)
    assert 0 in shares, "an item that no neighbour has"
    assert any(share > 0.5 for share in shares)


@pytest.mark.parametrize("scoring", ["exact", "int8"])
def test_probabilities_of_a_blend_keep_four_digits_however_small(scoring: str, tmp_path: Path) -> None:
    model(tmp_path)
    serving = blend(tmp_path, scoring=scoring)
    clicks = [(f"s{n}", n) for n in range(20)]
    answers = stream(serving).click(*clicks)
    zeros = np.zeros(20, dtype=np.int64)
    histories = Prefixes(np.empty(0, dtype=np.int64), np.zeros(21, dtype=np.int64))
    batch = Clicks(np.arange(20), np.arange(20), zeros, zeros.astype(bool), histories)
    queries = serving.ranker.advance(batch, Memory.empty(20, serving.ranker.needs)).queries
    rows, scores = serving.ranker.best(queries, serving.top)
    for answer, mine, exact in zip(answers, rows.tolist(), scores.astype(np.float64), strict=True):
        assert answer is not None
        assert answer.items == mine
        np.testing.assert_allclose(answer.scores, exact, rtol=5.1e-4)
        assert [float(f"{score:.4g}") for score in answer.scores] == answer.scores
        assert exact.min() < 0.05


READS_HISTORY = ("narm", "stamp", "sasrec", RecentItemsFamily.name)


def reads_history(family: str, window: int) -> ServingModel:
    """A model of ITEMS items whose answers depend on each of a session's last `window` items."""
    items = ItemIndex(list(range(ITEMS)), np.arange(ITEMS, 0, -1))
    if family == RecentItemsFamily.name:
        return ServingModel(Bundle("v1", RecentItems.random(ITEMS, window), items, family=family), torch.device("cpu"))
    torch.manual_seed(1)
    network = FAMILIES[family].untrained({"items": ITEMS, "hidden": 12, "window": window})
    for weight in network.requires_grad_(False).eval().parameters():
        weight.mul_(3)
    return ServingModel(Bundle("v1", network, items, family=family), torch.device("cpu"))


@pytest.mark.usefixtures("recent_items")
@pytest.mark.parametrize("family", READS_HISTORY)
@pytest.mark.parametrize("kept", [3, 4, 20])
def test_an_answer_from_the_history_does_not_depend_on_the_batches_though_items_are_unknown(
    family: str, kept: int
) -> None:
    serving = reads_history(family, window=3)
    rng = random.Random(1)
    clicks: list[tuple[str, object, int]] = []
    for n in range(300):
        item = rng.randrange(ITEMS) if rng.random() < 0.4 else f"unknown {n}"
        clicks.append((f"s{rng.randrange(4)}", item, NOW + (n // 100) * 2 * GAP))

    def run(size: int) -> list[Answer | None]:
        feed = stream(serving, history=kept)
        return [answer for n in range(0, len(clicks), size) for answer in feed.click(*clicks[n : n + size])]

    singly = run(1)
    assert {answer.source for answer in singly if answer} == {"model", "popular"}
    for size in (2, 7, 300):
        assert run(size) == singly


@pytest.mark.usefixtures("recent_items")
@pytest.mark.parametrize("family", READS_HISTORY)
def test_an_answer_reads_the_known_of_the_stored_items_and_of_the_click(family: str) -> None:
    serving = reads_history(family, window=3)
    feed = stream(serving, history=3)

    def after(*items: int) -> Answer | None:
        return stream(serving).click(*[("t", item) for item in items])[-1]

    found = feed.click(*[("s", item) for item in (1, 2, 3, 4, "a", "b", "c", "d", 5)])
    assert found[3] == after(2, 3, 4)
    assert [answer and (answer.top, answer.source) for answer in found[4:8]] == [
        (expected.top, expected.source) for items in [(2, 3, 4), (3, 4), (4,)] if (expected := after(*items))
    ] + [(serving.popular[0].top, "popular")]
    assert found[8] == after(5)


@pytest.mark.usefixtures("recent_items")
@pytest.mark.parametrize("family", READS_HISTORY)
def test_unknown_items_change_no_answer_while_the_window_is_stored_beside_them(family: str) -> None:
    serving = reads_history(family, window=3)
    feed, as_offline = stream(serving, history=6), stream(serving, history=6)
    with_unknown = feed.click(*[("s", item) for item in (1, "a", 2, 3, "b", "c", 4, 5, 6, "d", 7, "e", 8)])
    known = as_offline.click(*[("s", item) for item in range(1, 9)])
    assert [answer for answer in with_unknown if answer and isinstance(answer.items[0], int)] == known


@pytest.mark.parametrize("size", [1, 6])
def test_a_rebuilt_session_goes_on_from_its_stored_items_in_every_batching(tmp_path: Path, size: int) -> None:
    old, new = model(tmp_path, "v1", 0), model(tmp_path, "v2", 1)
    feed, straight = stream(old, history=3), stream(new)
    feed.click(*[("s", item) for item in (1, 2, 3, "unknown", 4)])
    straight.click(("s", 3), ("s", 4))
    feed.recommender.model = new
    more = [("s", item) for item in (5, 6, "never seen", 7, 8, 9)]
    found = [answer for n in range(0, 6, size) for answer in feed.click(*more[n : n + size])]
    assert found == straight.click(*more)


def test_memory_of_another_network_under_the_same_name_is_not_used(tmp_path: Path) -> None:
    first, second = model(tmp_path / "a", "v1", 0), model(tmp_path / "b", "v1", 1)
    feed, straight = stream(first, state_format=3), stream(second, state_format=3)
    feed.click(("s", 1), ("s", 2))
    straight.click(("s", 1), ("s", 2))
    feed.recommender.model = second
    assert feed.click(("s", 3)) == straight.click(("s", 3))


@pytest.mark.parametrize("state_format", [2, 3])
def test_states_stored_before_the_precision_was_changed_go_on(tmp_path: Path, state_format: int) -> None:
    half = stream(model(tmp_path), storage="float16", state_format=state_format)
    half.click(("s", 1), ("s", 2))
    full = stream(model(tmp_path), state_format=state_format)
    full.packed, full.offset = dict(half.packed), half.offset
    (mine,), (theirs,) = full.click(("s", 3)), half.click(("s", 3))
    assert mine is not None
    assert theirs is not None
    assert mine.items == theirs.items


def test_the_first_model_takes_up_sessions_that_began_before_it(tmp_path: Path) -> None:
    feed, straight = stream(None), stream(model(tmp_path))
    feed.click(("s", 1), ("s", 2))
    straight.click(("s", 1), ("s", 2))
    feed.recommender.model = model(tmp_path)
    assert feed.click(("s", 3)) == straight.click(("s", 3))


def test_the_log_of_an_offset_is_not_taken_for_that_of_a_later_one(tmp_path: Path) -> None:
    feed = stream(model(tmp_path), state_format=3)
    feed.click(("s", 1))
    state = feed.state("s")
    state.log = "first log"
    feed.packed[b"s"] = pack(state, 3)
    feed.click(("s", 2))
    assert feed.state("s").log == ""


def test_the_history_is_bounded(tmp_path: Path) -> None:
    feed = stream(model(tmp_path), history=3)
    feed.click(*[("s", item) for item in range(10)])
    assert feed.state("s").history == [7, 8, 9]


def test_half_precision_states_stay_close(tmp_path: Path) -> None:
    full, half = stream(model(tmp_path)), stream(model(tmp_path), storage="float16")
    for item in range(5):
        (exact,), (rounded,) = full.click(("s", item)), half.click(("s", item))
    assert exact is not None
    assert rounded is not None
    assert rounded.scores == pytest.approx(exact.scores, abs=0.02)
    assert len(half.packed[b"s"]) < len(full.packed[b"s"])


def test_each_click_is_the_label_of_the_answer_before_it(tmp_path: Path) -> None:
    feed = stream(model(tmp_path))
    (first,) = feed.click(("s", 1))
    assert first is not None
    assert feed.outcome.labels == []
    hit, miss = first.items[4], next(item for item in range(ITEMS) if item not in first.items)
    feed.click(("s", hit))
    assert [(label.rank, label.model_version, label.source) for label in feed.outcome.labels] == [(5, "v1", "model")]
    feed = stream(model(tmp_path))
    feed.click(("s", 1), ("s", miss))
    assert [label.rank for label in feed.outcome.labels] == [0]


def test_a_model_of_fewer_items_than_twenty_recommends_all_of_them() -> None:
    small = Bundle("small", GRU4Rec(NetworkConfig(items=7)), ItemIndex(list("abcdefg"), np.ones(7, dtype=np.int64)))
    (answer,) = stream(ServingModel(small, torch.device("cpu"))).click(("s", "c"))
    assert answer is not None
    assert sorted(map(str, answer.items)) == list("abcdefg")


def test_a_shadow_model_is_labelled_beside_the_champion_and_changes_nothing(tmp_path: Path) -> None:
    champion, challenger = model(tmp_path, "v1", 0), model(tmp_path, "v2", 1, hidden=16)
    clicks = [(f"s{n % 5}", (n * 31) % ITEMS) for n in range(40)]
    feed, alone, other = stream(champion), stream(champion), stream(challenger)
    feed.click(*clicks)
    alone.click(*clicks)
    other.click(*clicks)
    feed.recommender.shadow = challenger
    more = [(f"s{n % 6}", (n * 7) % ITEMS) for n in range(30)]
    assert feed.click(*more) == alone.click(*more)
    other.click(*more)
    mine = [label for label in feed.outcome.labels if label.model_version == "v1"]
    theirs = [label for label in feed.outcome.labels if label.model_version == "v2"]
    assert mine == alone.outcome.labels
    assert theirs == other.outcome.labels[-len(theirs) :]
    assert [feed.state(f"s{n}").shadow for n in range(6)] == [other.state(f"s{n}").served for n in range(6)]
    feed.recommender.shadow = None
    feed.click(("s0", 1))
    assert feed.state("s0").shadow is None
