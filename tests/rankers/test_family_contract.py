"""What every family of models must pass, see `rankers.contract`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from rankers.blend.model import Blend
from rankers.bundle import Bundle, read_bundle, write_bundle
from rankers.contract import Clicks, Memory, NetworkFamily, Ranker
from rankers.families import FAMILIES, counted_family_of, family_of, is_counted, network_family_of
from rankers.gru4rec.network import GRU4Rec
from rankers.history.network import HistoryNetwork
from rankers.narm.network import NARM
from rankers.neighbours.family import Neighbours
from rankers.neighbours.stan import STAN
from rankers.neighbours.vs_knn import VSKNN
from rankers.recurrent import NetworkConfig
from rankers.sasrec.network import SASRec
from rankers.stamp.network import STAMP
from schemas.errors import BundleError
from tests.rankers.recent_items import RecentItems, RecentItemsFamily
from trainer.config import TrainConfig
from trainer.evaluation.ranks import rank_streamed
from trainer.presets import FAMILY_DEFAULTS

ITEMS, SESSIONS = 200, 30


def gru4rec(items: int = ITEMS, **shape: Any) -> GRU4Rec:
    torch.manual_seed(1)
    network = GRU4Rec(NetworkConfig(items=items, hidden=12, **shape)).requires_grad_(False).eval()
    for weight in network.parameters():  # wide enough that the order of items depends on the whole session
        weight.data.mul_(3)
    return network


def reads_history(family: str, **shape: int) -> HistoryNetwork:
    torch.manual_seed(1)
    network = network_family_of(family).untrained({"items": ITEMS, "hidden": 12, "window": 5, **shape})
    for weight in network.parameters():
        weight.data.mul_(3)
    return network.requires_grad_(False).eval()  # type: ignore[no-any-return]


def neighbours(family: str, **settings: float) -> Neighbours:
    lengths = np.random.default_rng(1).integers(2, 8, 300)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    sessions = Sessions(np.random.default_rng(2).integers(0, ITEMS, offsets[-1]), offsets)
    return counted_family_of(family).count({"items": ITEMS, **settings}, sessions)  # type: ignore[no-any-return]


def blend(network: Any, sessions: Neighbours, weight: float = 0.4, temperature: float = 2.0) -> Blend:
    items = list(range(1000, 1000 + network.config.items))
    networks = {GRU4Rec: "gru4rec", NARM: "narm", STAMP: "stamp", SASRec: "sasrec"}
    methods = {VSKNN: "vs-knn", STAN: "stan"}
    return Blend(networks[type(network)], network, items, methods[type(sessions.config)], sessions, weight, temperature)


MODELS: dict[tuple[str, str], Callable[[], Any]] = {
    ("gru4rec", "shared"): gru4rec,
    ("gru4rec", "two layers"): lambda: gru4rec(layers=2),
    ("gru4rec", "one-hot"): lambda: gru4rec(input="one-hot"),
    ("gru4rec", "reset before"): lambda: gru4rec(reset="before", input="embedding"),
    ("narm", "window of 5"): lambda: reads_history("narm"),
    ("stamp", "window of 5"): lambda: reads_history("stamp"),
    ("sasrec", "window of 5"): lambda: reads_history("sasrec"),
    ("sasrec", "two blocks, three heads"): lambda: reads_history("sasrec", layers=2, heads=3, window=9),
    ("vs-knn", "few neighbours"): lambda: neighbours("vs-knn", k=5, newest=9),
    ("vs-knn", "window of 3"): lambda: neighbours("vs-knn", window=3),
    ("stan", "few neighbours"): lambda: neighbours("stan", k=5, newest=9),
    ("stan", "all sessions"): lambda: neighbours("stan", distance_decay=2.0),
    ("blend", "gru4rec and stan"): lambda: blend(gru4rec(), neighbours("stan", k=5, newest=9)),
    ("blend", "two layers and vs-knn"): lambda: blend(gru4rec(layers=2), neighbours("vs-knn"), 0.3, 1.5),
    ("blend", "narm and stan"): lambda: blend(reads_history("narm"), neighbours("stan")),
    ("blend", "stamp and vs-knn"): lambda: blend(reads_history("stamp"), neighbours("vs-knn"), 0.0),
    ("blend", "sasrec and stan"): lambda: blend(reads_history("sasrec"), neighbours("stan"), 1.0),
    ("blend", "items without a network"): lambda: blend(gru4rec(items=120), neighbours("stan", k=5, newest=9)),
    ("blend", "few items with a network"): lambda: blend(gru4rec(items=9), neighbours("stan")),
    ("blend", "history, items without a network"): lambda: blend(
        reads_history("sasrec", items=120, window=50), neighbours("vs-knn")
    ),
    ("recent-items", "that reads the history"): lambda: RecentItems.random(ITEMS),
}
"""(Family, variant) → a small model of ITEMS items; every family, and one for tests."""


@pytest.fixture(autouse=True)
def family_that_reads_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, RecentItemsFamily.name, RecentItemsFamily())


@pytest.fixture(params=sorted(MODELS), ids="-".join)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    items = ItemIndex(list(range(1000, 1000 + ITEMS)), np.arange(ITEMS, 0, -1))
    return Bundle("v1", MODELS[request.param](), items, family=request.param[0])


@pytest.fixture
def ranker(bundle: Bundle) -> Ranker:
    return ready(bundle)


def ready(bundle: Bundle) -> Ranker:
    return family_of(bundle.family).ranker(bundle.model, bundle.items, torch.device("cpu"), "exact")


class Stream:
    """Feeds clicks of SESSIONS sessions to a ranker in batches, and keeps the sessions' memory between batches."""

    def __init__(self, ranker: Ranker) -> None:
        self.ranker = ranker
        self.memory = Memory.empty(SESSIONS, ranker.needs)
        self.histories: list[list[int]] = [[] for _ in range(SESSIONS)]

    def click(self, session: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Apply a batch; (N, 20) rows and scores, -1 and 0 for clicks that are not ranked."""
        slots, slot = np.unique(session, return_inverse=True)
        rounds = np.array([int((session[:place] == who).sum()) for place, who in enumerate(session)])
        needed = self.ranker.needs.history
        histories = prefixes([self.histories[who][-needed:] for who in slots]) if needed else None
        clicks = Clicks(rows, slot, rounds, np.zeros(len(rows), dtype=bool), histories)
        before = Memory(self.memory.values[slots].copy(), self.memory.seen[slots].copy())
        queries, ranked, memory = self.ranker.advance(clicks, before)
        self.memory.values[slots], self.memory.seen[slots] = memory.values, memory.seen
        for who, row in zip(session, rows, strict=True):
            if row >= 0:
                self.histories[who].append(int(row))
        found = np.full((len(rows), 20), -1), np.zeros((len(rows), 20), dtype=np.float32)
        if ranked.any():
            found[0][ranked], found[1][ranked] = self.ranker.best(queries, 20)
        return found


def prefixes(lists: list[list[int]]) -> Prefixes:
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in lists])]).astype(np.int64)
    return Prefixes(np.array([row for rows in lists for row in rows], dtype=np.int64), offsets)


def some_clicks(count: int = 500) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Session and row of each click; a tenth of the items are unknown, also the first of some sessions."""
    random = np.random.default_rng(2)
    rows = random.integers(0, ITEMS, count)
    rows[random.random(count) < 0.1] = -1
    rows[:3] = -1
    return random.integers(0, SESSIONS, count), rows


def untrained(config: TrainConfig) -> Any:
    if is_counted(config.family):
        sessions = Sessions(np.array([0, 1, 2]), np.array([0, 3]))
        return counted_family_of(config.family).count(config.shape(3), sessions)
    return network_family_of(config.family).untrained(config.shape(3))


def test_every_family_is_tested() -> None:
    assert {family for family, _ in MODELS} == set(FAMILIES)
    assert all(family.name == name for name, family in FAMILIES.items())


@pytest.mark.parametrize("family", list(FAMILIES))
def test_what_a_training_will_need_is_known_before_it(family: str) -> None:
    config = replace(FAMILY_DEFAULTS[family], hidden=4, window=7)
    made = [untrained(part) for part in config.parts]
    model = made[0] if len(made) == 1 else Blend("gru4rec", made[0], ["a", "b", "c"], "stan", made[1], 0.5, 1.0)
    assert config.history == family_of(family).needs(model).history


@pytest.mark.parametrize("sizes", [(250, 250), (1, 2, 3, 31, 32, 33, 64, 334)])
def test_an_answer_does_not_depend_on_what_else_is_in_its_batch(ranker: Ranker, sizes: tuple[int, ...]) -> None:
    session, rows = some_clicks()
    singly, together = Stream(ranker), Stream(ranker)
    expected = [singly.click(session[n : n + 1], rows[n : n + 1]) for n in range(len(rows))]
    ends = np.cumsum(sizes)
    found = [together.click(session[e - n : e], rows[e - n : e]) for n, e in zip(sizes, ends, strict=True)]
    for part in (0, 1):
        np.testing.assert_array_equal(
            np.concatenate([answer[part] for answer in found]), np.concatenate([answer[part] for answer in expected])
        )
    np.testing.assert_array_equal(together.memory.values, singly.memory.values)
    np.testing.assert_array_equal(together.memory.seen, singly.memory.seen)


def test_rebuilding_equals_stepping(ranker: Ranker) -> None:
    stream = Stream(ranker)
    stream.click(*some_clicks())
    rebuilt = ranker.rebuild(prefixes(stream.histories))
    np.testing.assert_array_equal(rebuilt.values, stream.memory.values)
    np.testing.assert_array_equal(rebuilt.seen, stream.memory.seen)


def test_a_session_that_begins_anew_is_as_one_that_was_never_seen(ranker: Ranker) -> None:
    def advance(rows: list[int], fresh: list[bool]) -> NDArray[np.int64]:
        count = len(rows)
        histories = prefixes([[]]) if ranker.needs.history else None
        places = np.arange(count)
        clicks = Clicks(np.array(rows), np.zeros(count, dtype=np.int64), places, np.array(fresh), histories)
        return ranker.best(ranker.advance(clicks, Memory.empty(1, ranker.needs)).queries, 20).rows

    np.testing.assert_array_equal(advance([1, 2, 3, 4], [False, False, True, False])[2:], advance([3, 4], [False] * 2))


def test_the_best_are_those_of_highest_score(ranker: Ranker) -> None:
    _, rows = some_clicks(60)
    clicks = Clicks(rows, np.arange(60), np.zeros(60, dtype=np.int64), np.zeros(60, dtype=bool), histories_of(ranker))
    queries = ranker.advance(clicks, Memory.empty(60, ranker.needs)).queries
    scores = ranker.scores(queries)  # (Q, I)
    order = np.argsort(-scores, axis=1, kind="stable")  # equal scores by row
    np.testing.assert_array_equal(ranker.best(queries, 20).rows, order[:, :20])
    some = np.array([7, 3, 150])
    np.testing.assert_allclose(ranker.scores(queries, some), scores[:, some], rtol=1e-5, atol=1e-6)
    allowed = np.zeros(ITEMS, dtype=bool)
    allowed[::3] = True
    top = ranker.best(queries, 5, allowed)
    for mine, row in zip(top.rows, order, strict=True):
        np.testing.assert_array_equal(mine, [item for item in row if allowed[item]][:5])
    for number in range(len(scores)):  # alone as in the batch, bit by bit
        alone = ranker.best(queries[number : number + 1], 5, allowed)
        np.testing.assert_array_equal(alone.rows[0], top.rows[number])
        np.testing.assert_array_equal(alone.scores[0], top.scores[number])
    few = np.zeros((len(scores), ITEMS), dtype=bool)
    few[:, [4, 9]] = True
    top = ranker.best(queries, 3, few)
    assert (np.sort(top.rows[:, :2]) == [4, 9]).all()
    assert (top.rows[:, 2] == -1).all()
    assert np.isneginf(top.scores[:, 2]).all()


def histories_of(ranker: Ranker) -> Prefixes | None:
    return prefixes([[]] * 60) if ranker.needs.history else None


def test_offline_equals_streaming(ranker: Ranker) -> None:
    random = np.random.default_rng(3)
    lengths = random.integers(2, 8, SESSIONS)
    sessions = Sessions(random.integers(0, ITEMS, lengths.sum()), np.concatenate([[0], np.cumsum(lengths)]))
    expected = []
    for first, end in zip(sessions.offsets[:-1], sessions.offsets[1:], strict=True):
        memory, one = Memory.empty(1, ranker.needs), np.zeros(1, dtype=np.int64)
        for place in range(first, end - 1):
            histories = prefixes([sessions.items[first:place].tolist()]) if ranker.needs.history else None
            clicks = Clicks(sessions.items[place : place + 1], one, one, one.astype(bool), histories)
            queries, _, memory = ranker.advance(clicks, memory)
            scores = ranker.scores(queries)[0]
            expected.append(int((scores >= scores[sessions.items[place + 1]]).sum()))
    assert rank_streamed(ranker, sessions).rank.tolist() == expected


def test_a_bundle_survives_a_round_trip(bundle: Bundle, tmp_path: Path) -> None:
    again = read_bundle(tmp_path / "b", write_bundle(bundle, tmp_path / "b"))
    assert (again.version, again.family, again.needs, list(again.items.ids)) == (
        bundle.version,
        bundle.family,
        bundle.needs,
        list(bundle.items.ids),
    )
    session, rows = some_clicks(100)
    for expected, found in zip(
        Stream(ready(bundle)).click(session, rows), Stream(ready(again)).click(session, rows), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_any_file_of_a_bundle_that_is_cut_short_or_missing_is_noticed(bundle: Bundle, tmp_path: Path) -> None:
    write_bundle(bundle, tmp_path / "whole")
    for path in sorted((tmp_path / "whole").iterdir()):
        content = path.read_bytes()
        for damaged in (content[: len(content) // 2], b"", None):
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            with pytest.raises(BundleError, match=r"is damaged|is no whole bundle|is no bundle"):
                read_bundle(tmp_path / "whole")
        path.write_bytes(content)
    read_bundle(tmp_path / "whole")


NETWORKS = [key for key in sorted(MODELS) if isinstance(FAMILIES.get(key[0]), NetworkFamily)]


@pytest.mark.parametrize("bundle", NETWORKS, ids="-".join, indirect=True)
def test_what_is_known_of_the_items_stays_when_others_are_added(bundle: Bundle) -> None:
    before = np.array([3, -1, 0, 9, -1])
    family = network_family_of(bundle.family)
    grown = family.grown(bundle.model, before, seed=0)
    items = ItemIndex(list("abcde"), np.ones(5, dtype=np.int64))
    old, new = ready(bundle), family.ranker(grown, items, torch.device("cpu"), "exact")
    known = np.flatnonzero(before >= 0)

    def scores(ranker: Ranker, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        one = np.zeros(1, dtype=np.int64)
        histories = prefixes([[]]) if ranker.needs.history else None
        clicks = Clicks(rows[:1], one, one, one.astype(bool), histories)
        return ranker.scores(ranker.advance(clicks, Memory.empty(1, ranker.needs)).queries, rows)

    np.testing.assert_allclose(scores(new, known), scores(old, before[known]), rtol=1e-5, atol=1e-6)
