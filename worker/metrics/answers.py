"""Clicks that were answered or not, and how good the answers were."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from worker.delivery.app import DeliveryApp
from worker.pipeline import Pipeline
from worker.rejects import KINDS


class AnswerMetrics:
    """Counts of clicks, rejects by reason, and the live evaluation."""

    def __init__(self, app: DeliveryApp, pipeline: Pipeline) -> None:
        self._app, self._pipeline = app, pipeline

    def collect(self) -> Iterator[Metric]:
        """One family per figure."""
        for name, meaning in Pipeline.COUNTS.items():
            yield CounterMetricFamily(f"nextclick_{name}", meaning, value=self._pipeline.counts[name])
        rejects = CounterMetricFamily(
            "nextclick_rejects", "Messages that are no click, by what is wrong with them", labels=("reason",)
        )
        for kind in KINDS:
            rejects.add_metric((kind,), self._pipeline.rejects.counts[kind])
        yield rejects
        yield CounterMetricFamily(
            "nextclick_empty_offsets",
            "Offsets without a click: ends of transactions, and messages of aborted ones",
            value=self._app.source.empty_offsets,
        )
        yield CounterMetricFamily(
            "nextclick_lost_offsets",
            "Offsets of clicks that the topic did not have any more when they were to be read",
            value=self._app.source.lost_offsets,
        )
        yield from self._live()

    def _live(self) -> Iterator[Metric]:
        names = ("model_version", "source")
        labels = CounterMetricFamily("nextclick_live_labels", "Clicks that followed a recommendation", labels=names)
        hits = CounterMetricFamily("nextclick_live_hits", "Of those, on one of the 20 recommended items", labels=names)
        ranks = CounterMetricFamily("nextclick_live_reciprocal_ranks", "Sum of 1/rank of those hits", labels=names)
        recall = GaugeMetricFamily("nextclick_live_recall_at_20", "hits / labels", labels=names)
        mrr = GaugeMetricFamily("nextclick_live_mrr_at_20", "reciprocal ranks / labels", labels=names)
        for (version, source), live in self._pipeline.live.result().items():
            who = (version or "", source)
            labels.add_metric(who, live.labels)
            hits.add_metric(who, live.hits)
            ranks.add_metric(who, live.reciprocal_ranks)
            recall.add_metric(who, live.recall)
            mrr.add_metric(who, live.mrr)
        yield from (labels, hits, ranks, recall, mrr)
