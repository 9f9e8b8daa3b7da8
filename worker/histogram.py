"""Prometheus histograms that are observed once per micro-batch."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily


class Histogram:
    """Counts values in buckets, in the form of `prometheus_client.Histogram`, at a tenth of its cost.

    Args:
        name: of the metric, with its unit.
        meaning: what is observed.
        bounds: upper bounds of the buckets, ascending.
    """

    def __init__(self, name: str, meaning: str, bounds: Sequence[float]) -> None:
        self.name, self._meaning, self._bounds = name, meaning, bounds
        self._counts = [0] * (len(bounds) + 1)  # the last one: above all bounds
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value that occurred so many times."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The histogram now."""
        bounds = [*map(str, self._bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
        yield HistogramMetricFamily(self.name, self._meaning, buckets, self._sum)
