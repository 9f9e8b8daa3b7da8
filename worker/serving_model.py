"""A bundle loaded for serving: its ranker on the device, item ids, popular items and version."""

import numpy as np
import torch

from rankers.bundle import Bundle
from rankers.contract import Queries
from schemas.click import ItemId
from schemas.recommendation import TOP


class ServingModel:
    """A model that the recommender serves with, or scores as a shadow.

    Attributes:
        version: the bundle's version.
        network: short digest of the trained model; memory made by a model with another digest cannot be used.
        ranker: a ranker of any family.
        row_of: item id → row.
        memory_bytes: of a session's memory in float32.
        top: number of items in an answer, 20 or all if the model knows fewer.
        popular: the `top` ids of highest support, best first: the answer for sessions without a known item.
        popular_scores: their supports.
    """

    def __init__(self, bundle: Bundle, device: torch.device, scoring: str = "exact") -> None:
        self.version = bundle.version
        self.network = bundle.digest
        self.ranker = bundle.ranker(device, scoring)
        self.row_of = bundle.items.row_of
        self.memory_bytes = self.ranker.needs.memory
        self.top = min(TOP, len(bundle.items))
        self._ids = np.array(bundle.items.ids, dtype=object)  # (I,)
        best = bundle.items.popular[: self.top].tolist()
        self.popular: list[ItemId] = self._ids[best].tolist()
        self.popular_scores = [float(bundle.items.support[row]) for row in best]

    def best(self, queries: Queries) -> tuple[list[list[ItemId]], list[list[float]]]:
        """Ids and scores, rounded to 4 decimals, of the `top` best items of each query, best first."""
        rows, scores = self.ranker.best(queries, self.top)  # (Q, top) each
        ids: list[list[ItemId]] = self._ids[rows].tolist()
        return ids, scores.astype(np.float64).round(4).tolist()
