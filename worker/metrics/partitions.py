"""The partitions of this worker: what waits there, and what is stored of them."""

import os
from collections.abc import Iterator
from contextlib import suppress

from faust.types import TP
from prometheus_client.core import GaugeMetricFamily, Metric

from worker.delivery.app import DeliveryApp
from worker.pipeline import Pipeline


class PartitionMetrics:
    """Lag and stored sessions by partition; queue and disk of the worker."""

    def __init__(self, app: DeliveryApp, pipeline: Pipeline) -> None:
        self._app, self._pipeline = app, pipeline

    def collect(self) -> Iterator[Metric]:
        """One family per figure."""
        yield GaugeMetricFamily(
            "nextclick_partitions", "Partitions whose clicks this worker answers", value=len(self._app.partitions())
        )
        yield self._lag()
        yield GaugeMetricFamily(
            "nextclick_queued_clicks", "Clicks that were fetched and are in no batch yet", value=self._queued()
        )
        yield GaugeMetricFamily(
            "nextclick_batches_under_way",
            "Batches that were computed and are not stored yet",
            value=self._pipeline.under_way,
        )
        yield from self._stored()
        yield from self._disk()

    def _lag(self) -> Metric:
        lag = GaugeMetricFamily(
            "nextclick_consumer_lag",
            "Clicks of a partition that are not stored yet",
            labels=("partition",),
        )
        thread = self._app.consumer_thread()
        if thread is not None:
            progress = self._app.consumer.progress
            for tp in self._app.click_partitions():
                waiting = progress.lag(tp, thread.position_of(tp), thread.last_end_of(tp))
                if waiting is not None:
                    lag.add_metric((str(tp.partition),), waiting)
        return lag

    def _queued(self) -> int:
        if self._app.consumer_thread() is None:
            return 0
        progress, topic = self._app.consumer.progress, self._app.settings.clicks_topic
        taken = {number: offset for number, (_, offset) in self._app.source.reading().items()}
        fetched = {number: progress.fetched_up_to(TP(topic, number)) for number in taken}
        return sum(max((fetched[number] or offset) - offset, 0) for number, offset in taken.items())

    def _stored(self) -> Iterator[Metric]:
        sessions = GaugeMetricFamily(
            "nextclick_sessions", "Stored sessions of a partition, as RocksDB estimates them", labels=("partition",)
        )
        size = GaugeMetricFamily("nextclick_sessions_bytes", "Bytes of their files", labels=("partition",))
        store = self._app.sessions.data
        for partition in store.partitions():
            figures = store.figures(partition)
            if figures is not None:
                sessions.add_metric((str(partition),), figures.sessions)
                size.add_metric((str(partition),), figures.size)
        yield from (sessions, size)

    def _disk(self) -> Iterator[Metric]:
        with suppress(OSError):
            disk = os.statvfs(self._app.settings.data_dir)
            yield GaugeMetricFamily(
                "nextclick_disk_free_bytes",
                "Room that is left on the disk of NEXTCLICK_DATA_DIR",
                value=disk.f_bavail * disk.f_frsize,
            )
            yield GaugeMetricFamily(
                "nextclick_disk_size_bytes", "Size of that disk", value=disk.f_blocks * disk.f_frsize
            )
