"""Live evaluation: every click is the label of the recommendation before it in its session."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from worker.recommender import Label


@dataclass
class LiveMetrics:
    """Labels seen, how many were among the 20 recommended items, and the sum of their reciprocal ranks."""

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
    """Recall@20 and MRR@20 by model version and source, since the worker started."""

    def __init__(self) -> None:
        self._metrics: defaultdict[tuple[str | None, str], LiveMetrics] = defaultdict(LiveMetrics)

    def add(self, labels: Iterable[Label]) -> None:
        """Count labels; call it once per click."""
        for label in labels:
            metrics = self._metrics[label.model_version, label.source]
            metrics.labels += 1
            if label.rank:
                metrics.hits += 1
                metrics.reciprocal_ranks += 1 / label.rank

    def result(self) -> Mapping[tuple[str | None, str], LiveMetrics]:
        """(model version, source) → its metrics."""
        return self._metrics
