"""A bundle made ready to serve: its ranker on the device, and all that an answer says beside the ranks."""

import numpy as np
import torch

from rankers.bundle import Bundle
from rankers.contract import Queries
from schemas.click import ItemId
from schemas.recommendation import TOP


class ServingModel:
    """What the recommender serves with, or scores as a shadow.

    Attributes:
        version: the bundle's.
        network: short digest of the trained model; memory of another one is of no use to it.
        ranker: of any family.
        row_of: item id → row.
        popular: the top ids of highest support, best first, and their supports: for sessions without a known item.
    """

    def __init__(self, bundle: Bundle, device: torch.device, scoring: str = "exact") -> None:
        self.version = bundle.version
        self.network = bundle.digest
        self.ranker = bundle.ranker(device, scoring)
        self.row_of = bundle.items.row_of
        self.top = min(TOP, len(bundle.items))
        self._ids = np.array(bundle.items.ids, dtype=object)  # (I,)
        best = bundle.items.popular[: self.top].tolist()
        self.popular: list[ItemId] = self._ids[best].tolist()
        self.popular_scores = [float(bundle.items.support[row]) for row in best]

    def best(self, queries: Queries) -> tuple[list[list[ItemId]], list[list[float]]]:
        """Item ids and scores of the top items of each query, best first; 20, or all where the model knows fewer."""
        rows, scores = self.ranker.best(queries, self.top)  # (Q, top) each
        ids: list[list[ItemId]] = self._ids[rows].tolist()
        return ids, scores.astype(np.float64).round(4).tolist()
