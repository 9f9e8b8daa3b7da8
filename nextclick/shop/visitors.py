"""The visitors: a known random process, so that the best possible prediction of the next click can be computed.

A session's first click is on any item on sale, drawn by popularity. The visitor's intention is one of that item's
attributes, each equally likely. Every later click is drawn by popularity

- with probability `stray` from all items on sale,
- else from the items of the intention.

The item just clicked is never drawn again at once. (If the intention has no other item on sale, the click is a stray
one.) After each click but the first, with probability `change`, the intention becomes one of the attributes of the item
just clicked, each equally likely. So one click alone does not determine the intention; the clicks before it are needed.
The length of a session and the times of its clicks are independent of the items.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextclick.shop.catalogue import Catalogue, Ints, ShopConfig

DAY = 86_400_000
"""Milliseconds of a day."""

_QUIETEST_HOUR = 5


@dataclass(frozen=True)
class Clicks:
    """Clicks in order of time, then of session; the columns of a clicks file.

    Attributes:
        session_id: (clicks,) int64, numbered from 1 in order of the sessions' first clicks.
        item_id: (clicks,) int64, from 1.
        timestamp: (clicks,) int64, ms since 1970 UTC.
        last_day: (clicks,) bool, whether the click's session began on the last day.
    """

    session_id: Ints
    item_id: Ints
    timestamp: Ints
    last_day: NDArray[np.bool_]


def visit(shop: Catalogue, sessions: int, seed: int) -> Clicks:
    """Clicks of `sessions` sessions: equally many a day, and by the hour of the day within it.

    After midnight a session sees the catalogue of the new day; after the last day, still that of the last day.
    """
    rng = np.random.default_rng([seed, 1])
    config = shop.config
    starts = _starts(rng, config, sessions, shop.days)
    length = np.minimum(
        config.shortest - 1 + rng.geometric(1 / (1 + config.mean_length - config.shortest), sessions), config.longest
    )
    session = np.argsort(-length, kind="stable")  # longest first: sessions with a t-th click are a prefix
    alive = np.searchsorted(-length[session], -np.arange(1, length.max() + 1), side="right")  # (longest session,)
    time = starts[session]
    draw = _Drawer(shop, rng)
    whole_shop = config.intentions
    ids, items, times = [], [], []
    item: Ints = np.empty(0, np.int64)
    intention = item
    for click, n in enumerate(alive.tolist()):
        if click == 0:
            item = draw.first(_day(time, shop))
            moving = np.ones(n, np.bool_)
            intention = np.empty(n, np.int64)
        else:
            time = time[:n] + _gaps(rng, config, n)
            stray = rng.random(n) < config.stray
            item = draw.another(_day(time, shop), np.where(stray, whole_shop, intention[:n]), item[:n])
            moving = rng.random(n) < config.change
        attribute = rng.integers(0, config.attributes, n)
        intention = np.where(moving, shop.intention_of[item, attribute], intention[:n])
        ids.append(session[:n] + 1)
        items.append(item + 1)
        times.append(time)
    session_id, item_id, timestamp = (np.concatenate(column) for column in (ids, items, times))
    order = np.lexsort((session_id, timestamp))
    session_id = session_id[order]
    last_day = starts >= config.start + (shop.days - 1) * DAY
    return Clicks(session_id, item_id[order], timestamp[order], last_day[session_id - 1])


def _starts(rng: np.random.Generator, config: ShopConfig, sessions: int, days: int) -> Ints:
    """First click of each session, ascending (sessions,) int64 ms: equally many a day, few at night."""
    minute = np.arange(1441)
    wave = 1 - np.cos(2 * np.pi * (minute - _QUIETEST_HOUR * 60) / 1440)  # 0 at the quietest hour, 2 twelve hours later
    busy = np.cumsum(config.night + (1 - config.night) * wave / 2)
    share = (busy - busy[0]) / (busy[-1] - busy[0])
    of_day = np.minimum(np.interp(rng.random(sessions), share, minute) * 60_000, DAY - 1).astype(np.int64)
    day = np.arange(sessions) * days // sessions
    return np.sort(config.start + day * DAY + of_day)


def _gaps(rng: np.random.Generator, config: ShopConfig, n: int) -> Ints:
    """Milliseconds between two clicks, (n,) int64, at least one second."""
    seconds = config.gap_seconds * np.exp(config.gap_spread * rng.standard_normal(n))
    return (np.clip(seconds, 1.0, config.longest_gap_seconds) * 1000).astype(np.int64)


def _day(time: Ints, shop: Catalogue) -> Ints:
    return np.minimum((time - shop.config.start) // DAY, shop.days - 1)


class _Drawer:
    """Draws items of an intention on a day, exactly by popularity, from one cumulative sum of whole numbers.

    The sum runs over days × (attributes + 1 row for the whole shop) × items in order of their value.
    """

    def __init__(self, shop: Catalogue, rng: np.random.Generator) -> None:
        self.rng = rng
        config = shop.config
        n = len(shop.popularity)
        self.rows = config.attributes + 1
        self.intention_of = shop.intention_of
        self.whole_shop = config.intentions
        self.attribute_of = np.minimum(np.arange(config.intentions + 1) // config.values, config.attributes)
        order = np.concatenate([np.argsort(shop.intention_of, axis=0, kind="stable").T, np.arange(n)[None]])
        weights = shop.on_sale[:, order]  # (days, rows, n)
        self.item_at = np.broadcast_to(order, weights.shape).reshape(-1)
        running: Ints = np.cumsum(weights.reshape(-1))
        before = running.reshape(weights.shape) - weights
        self.before = np.empty_like(before)  # indexed by item, not by position: the sum before it in each row
        np.put_along_axis(self.before, np.broadcast_to(order, weights.shape), before, axis=2)
        self.running = running
        self.weight = shop.on_sale
        self.total = np.stack([shop.totals(day) for day in range(shop.days)])  # (days, intentions + 1)
        counts = np.bincount(shop.intention_of.ravel(), minlength=config.intentions).reshape(config.attributes, -1)
        first = np.concatenate([(np.cumsum(counts, axis=1) - counts).ravel(), [0]])  # start of an intention in its row
        self.begin = before[:, self.attribute_of, np.minimum(first, n - 1)]  # (days, intentions + 1)

    def first(self, day: Ints) -> Ints:
        """Draw items from the whole shop, (n,) int64."""
        drawn = self.rng.integers(0, self.total[day, self.whole_shop])
        return self._at(self.begin[day, self.whole_shop] + drawn)

    def another(self, day: Ints, intention: Ints, last: Ints) -> Ints:
        """Draw items of the intentions, never the item clicked last, (n,) int64."""
        left, excluded = self._left(day, intention, last)
        nothing = left == 0
        if nothing.any():
            intention = np.where(nothing, self.whole_shop, intention)
            left, excluded = self._left(day, intention, last)
        drawn = self.begin[day, intention] + self.rng.integers(0, left)
        beyond = drawn >= self.before[day, self.attribute_of[intention], last]
        return self._at(drawn + np.where(beyond, excluded, 0))

    def _left(self, day: Ints, intention: Ints, last: Ints) -> tuple[Ints, Ints]:
        """Popularity that may be drawn from, and the popularity of the last item that is excluded; (n,) int64 each."""
        serves = (self.intention_of[last] == intention[:, None]).any(axis=1) | (intention == self.whole_shop)
        excluded = np.where(serves, self.weight[day, last], 0)
        return self.total[day, intention] - excluded, excluded

    def _at(self, running: Ints) -> Ints:
        return self.item_at[np.searchsorted(self.running, running, side="right")]
