"""Whether the worker serves, and what keeps it from serving."""

from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from worker.delivery.app import DeliveryApp
from worker.pipeline import Pipeline


class GroupMetrics:
    """Readiness, recovery, trouble with Kafka, and the evidence about a shadow model."""

    def __init__(self, app: DeliveryApp, pipeline: Pipeline) -> None:
        self._app, self._pipeline = app, pipeline
        self._version = version("nextclick")

    def collect(self) -> Iterator[Metric]:
        """One family per figure."""
        yield InfoMetricFamily("nextclick_build", "The version that runs", value={"version": self._version})
        yield GaugeMetricFamily("nextclick_ready", "1 while clicks are answered", value=int(self._app.ready()))
        yield from self._recovery()
        failing = self._app.outage.longest()
        yield GaugeMetricFamily(
            "nextclick_outage_seconds",
            "For how long something has been failing and is tried again; 0 while nothing fails",
            value=0.0 if failing is None else failing[1],
        )
        yield GaugeMetricFamily(
            "nextclick_evidence_timestamp_seconds",
            "When evidence about the shadow was last published, seconds since 1970 UTC",
            value=self._pipeline.evidence_told_at,
        )

    def _recovery(self) -> Iterator[Metric]:
        if not self._app.started:
            return
        progress = self._app.tables.recovery.progress
        for name, meaning, value in (
            ("recovering", "1 while session states are recovered", int(progress.running)),
            ("recovery_read_offsets", "Changelog offsets that this recovery, or the last one, read", progress.read),
            ("recovery_offsets", "Changelog offsets that it reads in all", progress.to_read),
            ("recovery_duration_seconds", "How long it has taken so far, or took", progress.seconds),
            ("recovery_left_seconds", "How long it will still take, by its speed so far", progress.seconds_left),
        ):
            yield GaugeMetricFamily(f"nextclick_{name}", meaning, value=value)
        yield CounterMetricFamily("nextclick_recoveries", "Recoveries that ended", value=progress.recoveries)
