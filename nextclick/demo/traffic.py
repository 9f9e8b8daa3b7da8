"""The clicks of the demo: two days of the synthetic shop that end now, and the best possible ranking on the second."""

import time
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from nextclick.demo.plan import DemoPlan
from nextclick.shop import Catalogue, Clicks, Ranking, best_ranking, open_shop, visit
from nextclick.shop.click_table import click_table
from nextclick.shop.visitors import DAY
from schemas.recommendation import TOP

DAYS = 2
SAMPLE = 3_000
"""Sessions used to estimate the best reachable figures before the start: takes half a second, ± 0.008."""

HOUR = 3_600_000


@dataclass(frozen=True)
class Traffic:
    """Two days of clicks.

    Attributes:
        shop: the catalogue they were made with.
        first_day: columns session_id, item_id, timestamp, by time.
        second_day: the clicks of the sessions that began on the second day, by time.
        popular: the 20 most clicked items of the first day, best first.
    """

    shop: Catalogue
    first_day: pl.DataFrame
    second_day: Clicks
    popular: list[int]

    @property
    def first_live_session(self) -> int:
        """The first session of the second day; sessions are numbered in order of their first click."""
        return int(self.second_day.session_id.min())

    def live(self) -> pl.DataFrame:
        """The second day as a table."""
        return click_table(self.second_day)

    def best(self, clicks: int | None = None, sessions: int | None = None) -> Ranking:
        """The best possible ranking on the first `clicks` clicks, or `sessions` sessions, of the second day."""
        return best_ranking(self.shop, _rows(self.second_day, slice(clicks)), sessions)


def simulate(plan: DemoPlan) -> Traffic:
    """Clicks of two days. The second ended an hour ago, because the worker refuses clicks from the future."""
    start = time.time_ns() // 1_000_000 - DAYS * DAY - HOUR
    shop = open_shop(replace(plan.shop, start=start), DAYS, plan.seed)
    clicks = visit(shop, plan.sessions * DAYS, plan.seed)
    first = click_table(_rows(clicks, ~clicks.last_day))
    popular = [item for item, _ in Counter(first["item_id"].to_list()).most_common(TOP)]
    return Traffic(shop, first, _rows(clicks, clicks.last_day), popular)


def _rows(clicks: Clicks, rows: "slice | NDArray[np.bool_]") -> Clicks:
    return Clicks(clicks.session_id[rows], clicks.item_id[rows], clicks.timestamp[rows], clicks.last_day[rows])
