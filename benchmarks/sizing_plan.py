"""What a load needs, from the costs that `benchmarks.sizing` measures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.recovery import Recovered

BUSY = 0.6
"""Share of its core that a worker is planned to use: the rest is for peaks, and for a worker that is away."""

FEWEST = 2
"""Workers: where one is away, the other one answers."""

REPLICATION = 3

ROOM = 2.0
"""Disk and topic sizes times this: RocksDB and Kafka rewrite files before they delete the old ones."""


@dataclass(frozen=True)
class Load:
    """What a shop has.

    Attributes:
        clicks_per_second: at the busiest time.
        items: that the model knows.
        sessions: stored at the same time: those with a click in the last `NEXTCLICK_SESSION_LIFE`.
    """

    clicks_per_second: int
    items: int
    sessions: int

    def __str__(self) -> str:
        return f"{self.clicks_per_second:,} clicks/s, {self.items:,} items, {self.sessions:,} sessions"


LOADS = (Load(2_000, 40_000, 1_000_000), Load(100_000, 10_000_000, 100_000_000))
"""A usual shop, and one of the largest."""


@dataclass(frozen=True)
class Costs:
    """Measured costs.

    Attributes:
        items: ascending catalogue sizes, two at least.
        cpu_us_per_click, memory_mb: of a worker with each of these catalogues.
        bytes_per_click: topic → bytes per click.
        store_bytes, changelog_bytes: per session.
        start_seconds: of a worker without sessions.
        sessions_per_second: recovered onto an empty disk.
    """

    items: Sequence[int]
    cpu_us_per_click: Sequence[float]
    memory_mb: Sequence[float]
    bytes_per_click: Mapping[str, float]
    store_bytes: float
    changelog_bytes: float
    start_seconds: float
    sessions_per_second: float

    @classmethod
    def of(
        cls,
        served: Sequence[tuple[int, float, float]],
        bytes_per_click: Mapping[str, float],
        recovered: Sequence[Recovered],
    ) -> "Costs":
        """The costs in measurements.

        Args:
            served: items, CPU µs per click and memory in MB, ascending by items; two at least.
            bytes_per_click: topic → bytes per click.
            recovered: ascending by sessions; two at least.
        """
        few, many = recovered[0], recovered[-1]
        per_session = (many.starts[0].seconds - few.starts[0].seconds) / (many.sessions - few.sessions)
        items, cpu, memory = zip(*served, strict=True)
        return cls(
            items, cpu, memory, bytes_per_click,
            many.store_bytes / many.sessions,
            many.changelog_bytes / many.sessions,
            max(few.starts[0].seconds - few.sessions * per_session, 0.0),
            1 / per_session,
        )  # fmt: skip

    def at(self, values: Sequence[float], items: int) -> float:
        """A cost for another catalogue: between two measured ones, or on the line through the two largest."""
        if items <= self.items[-1]:
            return float(np.interp(items, self.items, values))
        slope = (values[-1] - values[-2]) / (self.items[-1] - self.items[-2])
        return values[-1] + slope * (items - self.items[-1])


def plan(load: Load, costs: Costs) -> str:
    """What a load needs, in Markdown."""
    cpu_us = costs.at(costs.cpu_us_per_click, load.items)
    workers = max(math.ceil(load.clicks_per_second * cpu_us / 1e6 / BUSY), FEWEST)
    each = load.sessions / workers
    per_click = {**costs.bytes_per_click, "changelog": costs.changelog_bytes}  # fewer where a batch has a session twice
    traffic = load.clicks_per_second * sum(per_click.values()) / 1e6
    memory = costs.at(costs.memory_mb, load.items) / 1e3
    disk = ROOM * each * costs.store_bytes / 1e9
    recovery = costs.start_seconds + each / costs.sessions_per_second
    changelog = ROOM * REPLICATION * load.sessions * costs.changelog_bytes / 1e9
    log = REPLICATION * load.clicks_per_second * costs.bytes_per_click["clicks"] * 86_400 / 1e9
    beyond = ", on the line through the two largest catalogues" if load.items > costs.items[-1] else ""
    rows = {
        f"CPU per click | {cpu_us:,.0f} µs": f"as measured{beyond}",
        f"workers | {workers:,}": f"a core each, {BUSY:.0%} busy, and {FEWEST} at least",
        f"partitions | {workers:,}": "at least one for each worker; they can only become more",
        f"memory of a worker | {memory:,.1f} GB": f"as measured{beyond}; while a model is exchanged, there are two",
        f"disk of a worker | {disk:,.2f} GB": f"{each:,.0f} sessions, and as much again for compaction",
        f"recovery onto an empty disk | {recovery:,.0f} s": f"{costs.sessions_per_second:,.0f} sessions/s",
        f"written to Kafka | {traffic:,.0f} MB/s": f"with {REPLICATION} replicas {REPLICATION * traffic:,.0f} MB/s",
        f"changelog | {changelog:,.0f} GB": f"{REPLICATION} replicas, and as much again before compaction",
        f"clicks topic | {log:,.0f} GB a day": f"{REPLICATION} replicas, at this rate all day",
    }
    heading = f"## {load}\n"
    return "\n".join(
        [heading, "| | need | from |", "|---|---|---|", *(f"| {need} | {why} |" for need, why in rows.items())]
    )
