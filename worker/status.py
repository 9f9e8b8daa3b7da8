"""The worker's pages on its web port: `/metrics` for Prometheus, `/health` and `/live` for health checks."""

from collections.abc import Iterator
from typing import Any

from faust.web import Request, Response, View
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from worker.delivery.app import DeliveryApp
from worker.delivery.watchdog import dead_loop
from worker.model_follower import ModelFollower
from worker.pipeline import Pipeline
from worker.recommender import Recommender


class WorkerMetrics:
    """Collects the figures of one worker at each request from Prometheus."""

    def __init__(self, app: DeliveryApp, pipeline: Pipeline, recommender: Recommender, follower: ModelFollower) -> None:
        self._app, self._pipeline, self._recommender, self._follower = app, pipeline, recommender, follower

    def collect(self) -> Iterator[Metric]:
        """One family per figure; all counters start at 0 with the worker."""
        for name, meaning in Pipeline.COUNTS.items():
            yield CounterMetricFamily(f"nextclick_{name}", meaning, value=self._pipeline.counts[name])
        yield CounterMetricFamily(
            "nextclick_models_refused", "Announced models that were refused", value=self._follower.refused
        )
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
        yield GaugeMetricFamily(
            "nextclick_partitions", "Partitions whose clicks this worker answers", value=len(self._app.partitions())
        )
        yield GaugeMetricFamily("nextclick_ready", "1 while clicks are answered", value=int(self._app.ready()))
        serving = GaugeMetricFamily("nextclick_model", "1 for each model in use", labels=("model_version", "role"))
        for role, model in (("champion", self._recommender.model), ("shadow", self._recommender.shadow)):
            if model is not None:
                serving.add_metric((model.version, role), 1)
        yield serving

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


def add_pages(app: DeliveryApp, metrics: WorkerMetrics, pipeline: Pipeline) -> None:
    """Serve `/metrics`, `/health` and `/live` on the worker's web port."""
    registry = CollectorRegistry()
    registry.register(metrics)
    registry.register(pipeline.latency)

    @app.page("/metrics")
    async def show_metrics(view: View, _request: Request) -> Response:
        """All figures in Prometheus' text format."""
        return view.bytes(generate_latest(registry), content_type=CONTENT_TYPE_LATEST.split(";")[0])

    @app.page("/health")
    async def show_health(view: View, _request: Request) -> Response:
        """200 while clicks are answered, or none are for this worker; else 503 with the reason."""
        reason = app.ill_health()
        body: dict[str, Any] = {
            "ready": reason is None,
            "partitions": app.partitions(),
            "recovering": app.in_recovery,
            "reason": reason,
        }
        return view.json(body, status=200 if reason is None else 503)

    @app.page("/live")
    async def show_liveness(view: View, _request: Request) -> Response:
        """200 while the process's event loops run; else 503 with the reason: only a restart helps."""
        reason = dead_loop(app)
        return view.json({"live": reason is None, "reason": reason}, status=200 if reason is None else 503)
