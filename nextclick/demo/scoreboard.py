"""Live metrics from the clicks and recommendations topics: a click is the label of the recommendation before it.

Clicks and recommendations are read from two topics, so a label may come before its recommendation or after it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.click import ItemId

LATEST = 4_000
"""Number of latest answers for the latency on the screen: about the last five seconds."""


@dataclass
class Hits:
    """Labels, how many were among the 20 items, and the sum of their reciprocal ranks."""

    labels: int = 0
    hits: int = 0
    reciprocal_ranks: float = 0.0

    def add(self, items: Sequence[ItemId], label: ItemId) -> None:
        """Count one label."""
        self.labels += 1
        if label in items:
            self.hits += 1
            self.reciprocal_ranks += 1 / (items.index(label) + 1)

    @property
    def recall(self) -> float:
        """Recall@20; 0 before the first label."""
        return self.hits / self.labels if self.labels else 0.0

    @property
    def mrr(self) -> float:
        """MRR@20; 0 before the first label."""
        return self.reciprocal_ranks / self.labels if self.labels else 0.0


@dataclass
class VersionScore:
    """The answers of one model version to live clicks; before the first model, those of the worker's popular items.

    Attributes:
        answers: number of live clicks that it answered.
        first_answer_at: record time of its first one, ms since 1970 UTC.
        own: score of its recommendations.
        popularity: score of the first day's most popular items on the same labels.
    """

    answers: int = 0
    first_answer_at: int | None = None
    own: Hits = field(default_factory=Hits)
    popularity: Hits = field(default_factory=Hits)


@dataclass(slots=True)
class _Event:
    """One click and its answer."""

    live: bool = False
    clicked_at: int | None = None
    answered_at: int | None = None
    version: str | None = None
    items: list[ItemId] | None = None
    label: ItemId | None = None


class Scoreboard:
    """Counts and metrics of the run so far.

    Args:
        popular: the first day's most popular items, best first.
        first_live_session: sessions from this number on are live; answers to earlier sessions are counted, not judged.

    Attributes:
        clicks: number of clicks on the clicks topic.
        answered: number of clicks with a recommendation.
        duplicates: recommendations beyond the first of a click.
        latencies: of live clicks, record time of the click to record time of its answer, ms.
    """

    def __init__(self, popular: Sequence[int], first_live_session: int) -> None:
        self.clicks = 0
        self.answered = 0
        self.duplicates = 0
        self.latencies: list[int] = []
        self._latest: deque[int] = deque(maxlen=LATEST)
        self._scores: dict[str | None, VersionScore] = {}
        self._popular = list(popular)
        self._first_live_session = first_live_session
        self._events: dict[str, _Event] = {}
        self._last_of_session: dict[ItemId, _Event] = {}

    def click(self, place: str, session: ItemId, item: ItemId, at: int) -> None:
        """Count a click.

        Args:
            place: `partition-offset`.
            session: its session; the clicks of a session must come in the order of their offsets.
            item: the clicked item.
            at: record time, ms since 1970 UTC.
        """
        self.clicks += 1
        event = self._events.setdefault(place, _Event())
        event.live = self._is_live(session)
        event.clicked_at = at
        self._latency(event)
        before = self._last_of_session.get(session)
        self._last_of_session[session] = event
        if before is not None:
            before.label = item
            self._judge(before)

    def answer(self, place: str, session: ItemId, items: list[ItemId], version: str | None, at: int) -> None:
        """Count a recommendation; `version` is None before the first model."""
        event = self._events.setdefault(place, _Event())
        if event.answered_at is not None:
            self.duplicates += 1
            return
        self.answered += 1
        event.live = self._is_live(session)
        event.answered_at = at
        if not event.live:
            return
        event.version, event.items = version, items
        score = self._scores.setdefault(version, VersionScore())
        score.answers += 1
        score.first_answer_at = min(at, score.first_answer_at or at)
        self._latency(event)
        self._judge(event)

    @property
    def waiting(self) -> int:
        """Number of clicks without an answer."""
        return self.clicks - self.answered

    def score(self, version: str | None) -> VersionScore:
        """The score of a version; all zero if it has not answered yet."""
        return self._scores.get(version) or VersionScore()

    def latency(self, share: float, latest: bool = False) -> int | None:
        """A quantile of the live latencies, ms; with `latest`, of the latest few thousand only."""
        values = sorted(self._latest if latest else self.latencies)
        return values[min(int(share * len(values)), len(values) - 1)] if values else None

    def _is_live(self, session: ItemId) -> bool:
        return int(session) >= self._first_live_session

    def _latency(self, event: _Event) -> None:
        if event.live and event.clicked_at is not None and event.answered_at is not None:
            self.latencies.append(event.answered_at - event.clicked_at)
            self._latest.append(event.answered_at - event.clicked_at)

    def _judge(self, event: _Event) -> None:
        if event.items is None or event.label is None:
            return
        score = self._scores[event.version]
        score.own.add(event.items, event.label)
        score.popularity.add(self._popular, event.label)
        event.items = None
