"""The best that any recommender can reach on the shop's last day, computed from the process that made the clicks.

The clicks of a visitor so far give a *belief*: a probability for each intention. Bayes' rule updates it exactly with
each click (the forward filter of a hidden Markov model). Ranking the items by their probability under the belief is
optimal: no predictor has a higher expected Recall@k or MRR@k. The best predictor that sees only the last click uses the
mean belief over all visitors who just clicked that item.

Every next click counts, also on an item launched that day. A model trained before that day cannot rank such an item.
`nextclick evaluate` leaves these clicks out, and then the bound of Recall@20 is about 0.01 higher in the default shop.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextclick.shop.catalogue import Catalogue, Ints
from nextclick.shop.visitors import Clicks

Floats = NDArray[np.float64]

_EVENTS_AT_ONCE = 2_048
"""Events ranked in one block: their scores of 1,000 items take 8 MB."""


@dataclass(frozen=True)
class Ranking:
    """How a predictor ranked the next clicks of the last day's sessions.

    Attributes:
        rank: (events,) int64, rank of the item that was clicked next, 1 is best; ordered by position in the session.
    """

    rank: Ints

    def recall(self, top: int = 20) -> float:
        """Share of next clicks ranked within the first `top`."""
        return float((self.rank <= top).mean())

    def mrr(self, top: int = 20) -> float:
        """Mean of 1/rank; ranks beyond `top` count 0."""
        return float(np.where(self.rank <= top, 1 / self.rank, 0.0).mean())


def best_ranking(shop: Catalogue, clicks: Clicks, sessions: int | None = None) -> Ranking:
    """The Bayes-optimal ranking given all clicks of a session so far.

    Args:
        shop: the catalogue that the clicks were made with.
        clicks: from `visit`.
        sessions: use only this many sessions of the last day; None for all.
    """
    last_day = _LastDay(shop)
    belief = np.empty((0, shop.config.intentions))
    ranks = []
    for place, (last, following) in enumerate(_steps(clicks, sessions)):
        n = len(following)
        if place == 0:
            belief = last_day.after_first(last)
        belief, last = belief[:n], last[:n]
        ranks.append(last_day.rank(belief, last, following))
        belief = last_day.advance(belief, last, following)
    return Ranking(np.concatenate([np.empty(0, np.int64), *ranks]))


def last_click_ranking(shop: Catalogue, clicks: Clicks, sessions: int | None = None) -> Ranking:
    """The best ranking given the last click only; arguments as in `best_ranking`."""
    last_day = _LastDay(shop)
    belief_after = last_day.belief_after_item()
    ranks = [
        last_day.rank(belief_after[last[: len(following)]], last[: len(following)], following)
        for last, following in _steps(clicks, sessions)
    ]
    return Ranking(np.concatenate([np.empty(0, np.int64), *ranks]))


def _steps(clicks: Clicks, sessions: int | None) -> Iterator[tuple[Ints, Ints]]:
    """For each position in a session: the items there, and the next items of the sessions that continue (a prefix)."""
    chosen = np.flatnonzero(clicks.last_day)
    ids = np.unique(clicks.session_id[chosen])[:sessions]
    chosen = chosen[np.isin(clicks.session_id[chosen], ids)]
    chosen = chosen[np.argsort(clicks.session_id[chosen], kind="stable")]
    item = clicks.item_id[chosen] - 1
    _, begin, length = np.unique(clicks.session_id[chosen], return_index=True, return_counts=True)
    begin = begin[np.argsort(-length, kind="stable")]
    length = -np.sort(-length)
    for place in range(int(length.max(initial=1)) - 1):
        here = np.searchsorted(-length, -(place + 1), side="right")
        further = np.searchsorted(-length, -(place + 2), side="right")
        yield item[begin[:here] + place], item[begin[:further] + place + 1]


class _LastDay:
    """The visitors' process on the last day's catalogue: n items, z intentions, e events."""

    def __init__(self, shop: Catalogue) -> None:
        self.config = shop.config
        self.intention_of = shop.intention_of
        self.weight = shop.on_sale[-1].astype(np.float64)  # (n,)
        totals = shop.totals(shop.days - 1).astype(np.float64)
        self.total, self.whole_shop = totals[:-1], totals[-1]  # (z,), ()
        self.serves = np.zeros((len(self.weight), self.config.intentions), np.float32)  # (n, z)
        np.put_along_axis(self.serves, self.intention_of, 1, axis=1)

    def after_first(self, item: Ints) -> Floats:
        """Belief after a session's first click, (e, z): the item's attributes are equally likely."""
        return self.serves[item].astype(np.float64) / self.config.attributes

    def advance(self, belief: Floats, last: Ints, clicked: Ints) -> Floats:
        """Belief for the click after `clicked`, (e, z), from the belief for `clicked`."""
        within, anywhere = self._rates(last)
        joint = belief * (within * self.serves[clicked] + anywhere)  # up to the factor of the item's popularity
        joint /= joint.sum(axis=1, keepdims=True)
        return (1 - self.config.change) * joint + self.config.change * self.after_first(clicked)

    def rank(self, belief: Floats, last: Ints, following: Ints) -> Ints:
        """Ranks of the next items, (e,) int64, among all items on sale but the last; ties count against them."""
        ranks = np.empty(len(following), np.int64)
        for begin in range(0, len(following), _EVENTS_AT_ONCE):
            part = slice(begin, begin + _EVENTS_AT_ONCE)
            within, anywhere = self._rates(last[part])
            by_intention = (belief[part] * within).astype(np.float32)  # (e, z)
            by_chance = (belief[part] * anywhere).sum(axis=1, keepdims=True).astype(np.float32)  # (e, 1)
            scores = (by_intention @ self.serves.T + by_chance) * self.weight.astype(np.float32)  # (e, n)
            row = np.arange(len(scores))
            scores[row, last[part]] = 0  # the same item is never clicked twice in a row
            own = scores[row, following[part]][:, None]
            ranks[part] = (scores >= own).sum(axis=1)
        return ranks

    def belief_after_item(self) -> Floats:
        """Belief for the next click given the last click only, (n, z), averaged over all positions in a session.

        The joint probability of (intention for the next click, item clicked) is computed position by position. Each
        position is weighted by the share of sessions that continue after it.
        """
        config, n = self.config, len(self.weight)
        every_item = np.arange(n)
        within, anywhere = self._rates(every_item)  # (n, z)
        joint = self.after_first(every_item) * (self.weight / self.whole_shop)[:, None]  # (n, z)
        seen = np.zeros_like(joint)
        for goes_on in config.survival[1:]:
            seen += goes_on * joint
            by_intention, by_chance = joint * within, joint * anywhere
            # sum over the previous items, without the item itself: it cannot follow itself
            clicked = self.serves * (by_intention.sum(axis=0) - by_intention) + by_chance.sum(axis=0) - by_chance
            clicked *= self.weight[:, None]
            moved = self.after_first(every_item) * clicked.sum(axis=1, keepdims=True)
            joint = (1 - config.change) * clicked + config.change * moved
        belief: Floats = seen / np.maximum(seen.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        return belief

    def _rates(self, last: Ints) -> tuple[Floats, Floats]:
        """Probability per unit of popularity, (e, z) each: as an item of the intention, and as a stray click."""
        left = self.total - self.serves[last] * self.weight[last, None]
        none_left = left <= 0
        within = np.where(none_left, 0.0, (1 - self.config.stray) / np.where(none_left, 1.0, left))
        stray = np.where(none_left, 1.0, self.config.stray)
        return within, stray / (self.whole_shop - self.weight[last, None])
