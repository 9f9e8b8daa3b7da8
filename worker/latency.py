"""How long clicks wait for their answers, as a Prometheus histogram."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric

from worker.histogram import Histogram

BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets, in seconds."""


class LatencyHistogram:
    """Seconds from a click to its acknowledged answer, for every answered click.

    The clicks of a micro-batch are counted together: many of them have the same time, because a broker stamps a whole
    batch of records.
    """

    NAME = "nextclick_latency_seconds"

    def __init__(self) -> None:
        self._histogram = Histogram(self.NAME, "Click to acknowledged answer", BUCKETS)
        self._created = time.time()

    def observe(self, taken_in: Iterable[int], answered_at: float) -> None:
        """Count clicks that were answered at the same moment. A negative latency (two clocks differ) counts as 0.

        Args:
            taken_in: the time of each click, ms since 1970 UTC.
            answered_at: seconds since 1970 UTC.
        """
        for moment, clicks in Counter(taken_in).items():
            self._histogram.observe(max(answered_at - moment / 1000, 0.0), clicks)

    def collect(self) -> Iterator[Metric]:
        """The histogram, in the form of `prometheus_client.Histogram`."""
        for family in self._histogram.collect():
            family.add_sample(f"{self.NAME}_created", {}, self._created)
            yield family
