"""The shop's catalogue: items with a popularity and attributes, launched and retired over the days.

Every item has one value of each attribute: a category, a brand and a style. A visitor's *intention* is one such value
("shoes", or "brand 7"); its items are the items on sale that share the value. Value v of attribute a has the intention
number `a * values + v`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_WEIGHT_OF_THE_MOST_POPULAR = 10**7
"""Popularities are whole numbers, so that sampling is exact; this maximum is large enough to tell all ranks apart."""


@dataclass(frozen=True)
class ShopConfig:
    """Parameters of the shop and its visitors; the defaults show the gain of a session model in a demo of a minute."""

    items: int = 1_000  # on sale on any day: 20,000 sessions click each about 100 times, enough to learn it
    attributes: int = 3  # category, brand, style: one click leaves three intentions possible, two clicks mostly one
    values: int = 25  # per attribute: 40 items share a value, more than a list of 20 can hold
    zipf: float = 0.6  # popularity ∝ rank^-zipf: the 20 most popular items draw some 15 % of the clicks
    launched: float = 0.03  # share of the catalogue that is new each day, from midnight
    retired: float = 0.03  # share that leaves at the same midnight: the catalogue keeps its size
    stray: float = 0.05  # share of clicks on any item by popularity: one such click must not change the intention
    change: float = 0.05  # chance after a click to follow an attribute of it: newer clicks must count for more
    shortest: int = 2  # clicks per session: a session of one has nothing to predict
    mean_length: float = 5.5  # clicks per session; beyond the shortest the length is geometric
    longest: int = 50  # clicks per session: cuts off about one session in 100,000
    gap_seconds: float = 35.0  # median time between two clicks; log-normal
    gap_spread: float = 1.0  # standard deviation of its logarithm: a tenth of the gaps is above two minutes
    longest_gap_seconds: float = 1_200.0  # well below the 30 minutes of silence that end a session
    night: float = 0.15  # visits at the quietest hour (5:00 UTC) as a share of those at the busiest (17:00 UTC)
    start: int = 1_767_571_200_000  # midnight of Monday 2026-01-05 UTC, ms since 1970: fixed, so that files repeat

    def __post_init__(self) -> None:
        """Refuse values that make no sense.

        Raises:
            ValueError: names the field and its value.
        """
        if self.items < 2 or self.attributes < 1 or not 1 <= self.values <= self.items:
            raise ValueError(
                f"items={self.items}, attributes={self.attributes}, values={self.values}: a shop needs 2 items, "
                "1 attribute, and as many items as values"
            )
        for name in ("launched", "retired", "stray", "change", "night"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is a share: it lies between 0 and 1")
        if self.retired >= 0.5 or self.launched >= 0.5:
            raise ValueError(f"launched={self.launched}, retired={self.retired}: less than half of the items a day")
        if not 1 <= self.shortest < self.mean_length <= self.longest:
            raise ValueError("session lengths: 1 <= shortest < mean_length <= longest is needed")

    @property
    def intentions(self) -> int:
        """Number of intentions over all attributes."""
        return self.attributes * self.values

    @property
    def survival(self) -> NDArray[np.float64]:
        """`survival[t]`: the chance that a session has more than t clicks, (longest + 1,) float64."""
        clicks = np.arange(self.longest + 1)
        chance = 1 / (1 + self.mean_length - self.shortest)  # of ending at each click, from click `shortest` on
        survival = np.where(clicks < self.shortest, 1.0, (1 - chance) ** (clicks - self.shortest + 1.0))
        survival[-1] = 0.0
        return survival


@dataclass(frozen=True)
class Catalogue:
    """Every item that is ever on sale, by index: `item_id - 1`.

    Attributes:
        popularity: (n,) int64, a whole number ∝ the chance of a click; Zipf's law by rank.
        intention_of: (n, attributes) int64, the intentions that the item belongs to.
        launch_day: (n,) int64, first day on sale, counted from 0.
        retirement_day: (n,) int64, first day no longer on sale; `days` if it stays on sale.
    """

    config: ShopConfig
    days: int
    popularity: Ints
    intention_of: Ints
    launch_day: Ints
    retirement_day: Ints

    @cached_property
    def on_sale(self) -> Ints:
        """(days, n) int64: the popularity of each item on each day, 0 where it is not on sale."""
        day = np.arange(self.days)[:, None]
        return np.where((self.launch_day <= day) & (day < self.retirement_day), self.popularity, 0)

    def totals(self, day: int) -> Ints:
        """(intentions + 1,) int64: popularity on sale of each intention's items; the last entry is the whole shop's."""
        weights = self.on_sale[day]
        totals = np.zeros(self.config.intentions + 1, np.int64)
        np.add.at(totals, self.intention_of, weights[:, None])
        totals[-1] = weights.sum()
        return totals


def open_shop(config: ShopConfig, days: int, seed: int) -> Catalogue:
    """The catalogue of a shop over some days; the same arguments give the same shop."""
    rng = np.random.default_rng([seed, 0])
    launched = round(config.launched * config.items)
    retired = round(config.retired * config.items)
    n = config.items + launched * (days - 1)
    launch_day = np.concatenate([np.zeros(config.items, np.int64), np.repeat(np.arange(1, days), launched)])
    retirement_day = np.full(n, days, np.int64)
    for day in range(1, days):
        candidates = np.flatnonzero((launch_day < day) & (retirement_day == days))
        # always keep two items, even if no items are launched
        leaving = min(retired, max(len(candidates) - 2, 0))
        retirement_day[rng.choice(candidates, leaving, replace=False)] = day
    rank = rng.permutation(n) + 1
    popularity = np.ceil(_WEIGHT_OF_THE_MOST_POPULAR * rank.astype(np.float64) ** -config.zipf).astype(np.int64)
    # balanced: equally many items share each value of an attribute; shuffled separately for each attribute
    values = np.stack([rng.permutation(n) % config.values for _ in range(config.attributes)], axis=1)
    intention_of = values + config.values * np.arange(config.attributes)
    return Catalogue(config, days, popularity, intention_of, launch_day, retirement_day)
