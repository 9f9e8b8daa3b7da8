"""A synthetic shop whose best reachable recommendation is known: its catalogue, its visitors, and the optimum."""

from nextclick.shop.catalogue import Catalogue, ShopConfig, open_shop
from nextclick.shop.optimum import Ranking, best_ranking, last_click_ranking
from nextclick.shop.visitors import Clicks, visit

__all__ = [
    "Catalogue",
    "Clicks",
    "Ranking",
    "ShopConfig",
    "best_ranking",
    "last_click_ranking",
    "open_shop",
    "visit",
]
