"""Live evaluation: every click is the label of the recommendation before it in its session."""

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from schemas.evidence import GROUPS, LiveEvidence, group_of
from worker.recommender import Label, PairedLabel


@dataclass
class LiveMetrics:
    """Number of labels, number of hits among the 20 recommended items, and sum of the hits' reciprocal ranks."""

    labels: int = 0
    hits: int = 0
    reciprocal_ranks: float = 0.0

    @property
    def recall(self) -> float:
        """Recall@20; 0 before the first label."""
        return self.hits / self.labels if self.labels else 0.0

    @property
    def mrr(self) -> float:
        """MRR@20; 0 before the first label."""
        return self.reciprocal_ranks / self.labels if self.labels else 0.0


class LiveEvaluation:
    """Recall@20 and MRR@20 by model version and source, since the worker started. Versions with one network are counted
    together, as the version that it was trained as."""

    def __init__(self) -> None:
        self._metrics: defaultdict[tuple[str | None, str], LiveMetrics] = defaultdict(LiveMetrics)

    def add(self, labels: Iterable[Label]) -> None:
        """Count labels. Count each click only once."""
        for label in labels:
            metrics = self._metrics[label.model_version, label.source]
            metrics.labels += 1
            if label.rank:
                metrics.hits += 1
                metrics.reciprocal_ranks += 1 / label.rank

    def result(self) -> Mapping[tuple[str | None, str], LiveMetrics]:
        """(model version, source) → its metrics."""
        return self._metrics


@dataclass
class _Side:
    hits: list[int] = field(default_factory=lambda: [0] * GROUPS)
    reciprocal_ranks: float = 0.0

    def add(self, group: int, rank: int) -> None:
        if rank:
            self.hits[group] += 1
            self.reciprocal_ranks += 1 / rank


class ShadowComparison:
    """Hits of champion and shadow on the same clicks, counted since the network of either of them last changed.

    Attributes:
        worker: random id of this process, 12 hexadecimal digits.
    """

    def __init__(self) -> None:
        self.worker = secrets.token_hex(6)
        self._between: tuple[str | None, str | None] = (None, None)
        self.begin()

    def begin(self) -> None:
        """Reset the counts. Called after each exchange of the champion or the shadow, except for a refresh of it."""
        self._events = [0] * GROUPS
        self._champion, self._shadow = _Side(), _Side()

    def add(self, duels: Iterable[PairedLabel]) -> None:
        """Count clicks that both models had ranked, each click only once. Another pair of models resets the counts."""
        for duel in duels:
            between = (duel.champion.model_version, duel.shadow.model_version)
            if between != self._between:
                self._between = between
                self.begin()
            group = group_of(duel.key)
            self._events[group] += 1
            self._champion.add(group, duel.champion.rank)
            self._shadow.add(group, duel.shadow.rank)

    def evidence(self, name: str) -> LiveEvidence | None:
        """The counts as a record of the model `name`; None unless two different models are compared."""
        champion, shadow = self._between
        if champion is None or shadow is None or champion == shadow:
            return None
        return LiveEvidence(
            name=name,
            worker=self.worker,
            champion=champion,
            shadow=shadow,
            counted_at=datetime.now(UTC),
            events=self._events,
            champion_hits=self._champion.hits,
            shadow_hits=self._shadow.hits,
            champion_reciprocal_ranks=self._champion.reciprocal_ranks,
            shadow_reciprocal_ranks=self._shadow.reciprocal_ranks,
        )
