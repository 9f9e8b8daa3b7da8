"""The rank of every event's target. Metrics by position, popularity or session are computed from these ranks.

The protocol is that of `trainer.evaluation.full_ranking`: after every click except a session's last, the next click's
item is ranked among all items. Clicks on unknown items were dropped before (`clicklog.sessions.sessions_of`). By
default, ties count against the method.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from rankers.contract import Clicks, Memory, Ranker
from rankers.metrics import Ties, target_ranks
from schemas.errors import DivergedError, TrainingError

SCORES_AT_ONCE = 4_000_000  # scores of a block; 16 MB in float32
SESSIONS_AT_ONCE = 2048  # sessions that advance together


@dataclass(frozen=True)
class Ranks:
    """The events of some sessions, session by session and click by click.

    Attributes:
        rank: (E,) float64, rank of the item clicked next, from 1.
        session: (E,) int64, number of the session.
        position: (E,) int64, number of clicks of the session so far, from 1.
        target: (E,) int64, row of the item clicked next.
    """

    rank: NDArray[np.float64]
    session: NDArray[np.int64]
    position: NDArray[np.int64]
    target: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rank)


Score = Callable[[Prefixes], NDArray[np.floating]]


def rank_events(
    score: Score,
    sessions: Sessions,
    items: int,
    ties: Ties = "conservative",
    progress: Callable[[int, int], None] | None = None,
) -> Ranks:
    """Rank every event of the sessions with a function that scores all items for given prefixes of sessions.

    Args:
        score: from the prefixes of N events to scores (N, items).
        sessions: what to judge on.
        items: number of items that are scored.
        ties: how items with the same score as the target count.
        progress: called with the events ranked so far and in all.

    Raises:
        TrainingError: there is no event to judge, or a score is not a number.
    """
    session, position = _events(sessions)  # (E,) each
    start = sessions.offsets[session]  # (E,)
    target = sessions.items[start + position]  # (E,)
    rank = np.empty(len(session))  # (E,)
    block = max(1, SCORES_AT_ONCE // items)
    for begin in range(0, len(session), block):
        now = slice(begin, begin + block)
        length = position[now]  # (n,)
        offsets = np.concatenate([[0], np.cumsum(length)])  # (n+1,)
        click = np.arange(offsets[-1]) + np.repeat(start[now] - offsets[:-1], length)  # (P,)
        rank[now] = _target_ranks(score(Prefixes(sessions.items[click], offsets)), target[now], ties)
        if progress is not None:
            progress(min(begin + block, len(session)), len(session))
    return Ranks(rank, session, position, target)


def rank_streamed(
    ranker: Ranker,
    sessions: Sessions,
    ties: Ties = "conservative",
    progress: Callable[[int, int], None] | None = None,
) -> Ranks:
    """Rank every event of the sessions as in serving: each click advances the state that the ranker keeps per session.

    Args:
        ranker: on any device.
        sessions: rows of the ranker's items.
        ties: how items with the same score as the target count.
        progress: called with the events ranked so far and in all.

    Raises:
        TrainingError: see `rank_events`.
    """
    events = Events.of(sessions)
    rank = np.empty(len(events.session))
    for now, queries in streamed(ranker, sessions, events):
        rank[now] = _target_ranks(ranker.scores(queries), events.target[now], ties)
        if progress is not None:
            progress(now.stop, len(rank))
    return Ranks(rank, *events)


class Events(NamedTuple):
    """The events of some sessions, see `Ranks`."""

    session: NDArray[np.int64]
    position: NDArray[np.int64]
    target: NDArray[np.int64]

    @classmethod
    def of(cls, sessions: Sessions) -> "Events":
        """All events.

        Raises:
            TrainingError: there is none.
        """
        session, position = _events(sessions)
        return cls(session, position, sessions.items[sessions.offsets[session] + position])


def streamed(ranker: Ranker, sessions: Sessions, events: Events) -> Iterator[tuple[slice, Any]]:
    """Advance all sessions as in serving; yields blocks of events, with the queries before their targets."""
    last = sessions.items[sessions.offsets[events.session] + events.position - 1]  # (E,) the click before each target
    first_event = sessions.offsets - np.arange(len(sessions) + 1)  # (S+1,); a session has one event less than clicks
    block = max(1, SCORES_AT_ONCE // len(ranker.items))
    for begin in range(0, len(sessions), SESSIONS_AT_ONCE):
        end = min(begin + SESSIONS_AT_ONCE, len(sessions))
        low, high = int(first_event[begin]), int(first_event[end])
        session, position = events.session[low:high] - begin, events.position[low:high] - 1
        clicks = Clicks(last[low:high], session, position, np.zeros(high - low, dtype=bool))
        queries = ranker.advance(clicks, Memory.empty(end - begin, ranker.needs)).queries
        for now in range(low, high, block):
            yield slice(now, min(now + block, high)), queries[now - low : now - low + block]


def _events(sessions: Sessions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Session number, and number of clicks so far, of every event: (E,) each."""
    if sessions.pairs <= 0:
        raise TrainingError(
            "there is nothing to evaluate: no session has two clicks on items that the model knows; "
            "check that the clicks and the model are of one shop"
        )
    pairs = np.diff(sessions.offsets) - 1  # (S,)
    session = np.repeat(np.arange(len(pairs)), pairs)
    position = np.arange(len(session)) - np.repeat(np.cumsum(pairs) - pairs, pairs) + 1
    return session, position


def _target_ranks(scores: NDArray[np.floating], targets: NDArray[np.int64], ties: Ties) -> NDArray[np.float64]:
    try:
        return target_ranks(scores, targets, ties)
    except ValueError as error:
        raise DivergedError(f"the model cannot be evaluated: {error}; train it again") from error
