"""A bundle loaded for serving: its ranker on the device, item ids, popular items and version."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rankers.bundle import Bundle
from rankers.contract import BlendingRanker, Queries
from schemas.click import ItemId
from schemas.recommendation import TOP
from worker.answers import Answer, popular_answers

POWERS = np.array([float(10**power) for power in range(23)])
"""Of 10, all that a float64 holds exactly."""

NONE_KNOWN: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class TakenUp:
    """How an announced model was made ready.

    Attributes:
        announced_at: when it was announced, seconds since 1970 UTC; of a refresh: when its network was.
        newest_click: time of the newest click that it was trained on, seconds since 1970 UTC; None: unknown.
        seconds: from its announcement being read until it was ready.
        refreshed_at: when the refresh was announced, seconds since 1970 UTC; None: it is no refresh.
    """

    announced_at: float
    newest_click: float | None
    seconds: float
    refreshed_at: float | None


class ServingModel:
    """A model that the recommender serves with, or scores as a shadow.

    Args:
        bundle: the model.
        device: cpu or cuda.
        scoring: see `rankers.contract.Family.ranker`.
        details: whether answers of a blend say which part brought each item.
        network_versions: announced version → the version that its network was trained as; it may change later.

    Attributes:
        version: the bundle's version.
        network_version: the version that the network was trained as; a refresh has another version with the same one.
        network_digest: of the trained model; memory made by a model with another digest cannot be used.
        ranker: a ranker of any family.
        row_of: item id → row.
        memory_bytes: of a session's memory in float32.
        top: number of items in an answer, 20 or all if the model knows fewer.
        taken_up: how it was made ready; None if it was not announced.
        popular: the answers for sessions without a known item: the `top` items of highest support, scored by it. The
            first is for a click whose item came as a number, the second for one that came as a text.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device,
        scoring: str = "exact",
        *,
        details: bool = False,
        network_versions: Mapping[str, str] = NONE_KNOWN,
    ) -> None:
        self.version = bundle.version
        self.network_version = bundle.network_version
        self.taken_up: TakenUp | None = None
        self._network_versions = network_versions
        self.network_digest = bundle.network_digest
        self.ranker = bundle.ranker(device, scoring)
        self._explains = self.ranker if details and isinstance(self.ranker, BlendingRanker) else None
        self.row_of = bundle.items.row_of
        self.memory_bytes = self.ranker.needs.memory
        self.top = min(TOP, len(bundle.items))
        self._ids: NDArray[Any] = np.array(bundle.items.ids, dtype=object)  # (I,)
        numbers = any(isinstance(item, int) for item in bundle.items.ids)
        self._texts: NDArray[Any] = np.array(bundle.items.texts, dtype=object) if numbers else self._ids  # (I,)
        best = bundle.items.popular[: self.top]
        supports = [float(support) for support in bundle.items.support[best]]
        self.popular = popular_answers(self._ids[best].tolist(), supports, self.version)

    def network_version_of(self, version: str | None) -> str | None:
        """The version that the network of a version was trained as; the version itself if that is not known."""
        if version in (self.version, self.network_version):
            return self.network_version
        return version if version is None else self._network_versions.get(version, version)

    def answers(self, queries: Queries, as_text: NDArray[np.bool_]) -> Iterator[Answer]:
        """The `top` best items of each query, best first, with scores as `rounded`.

        Args:
            queries: one per click that is ranked.
            as_text: (Q,), whether the clicked item came as a text.
        """
        if self._explains is None:
            rows, scores = self.ranker.best(queries, self.top)  # (Q, top) each
            return self._answers(rows, scores, as_text)
        (rows, scores), brought = self._explains.best_and_brought(queries, self.top)
        return self._with_details(self._answers(rows, scores, as_text), brought)

    @staticmethod
    def _with_details(answers: Iterator[Answer], brought: NDArray[np.float32]) -> Iterator[Answer]:
        for answer, shares in zip(answers, brought.astype(np.float64).round(2).tolist(), strict=True):
            answer.neighbours_share = shares
            yield answer

    def _answers(
        self, rows: NDArray[np.int64], scores: NDArray[np.float32], as_text: NDArray[np.bool_]
    ) -> Iterator[Answer]:
        tops: list[list[ItemId]] = self._ids[rows].tolist()
        sent = tops
        if self._texts is not self._ids and as_text.any():
            sent = tops.copy()
            texts = self._texts[rows[as_text]].tolist()
            for place, items in zip(np.flatnonzero(as_text).tolist(), texts, strict=True):
                sent[place] = items
        for items, values, top in zip(sent, rounded(scores).tolist(), tops, strict=True):
            yield Answer(items, values, self.version, "model", top)


def rounded(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scores with 4 decimals, and below 0.1 with 4 significant digits: a blend's are probabilities, which are small if
    there are many items."""
    exact = scores.astype(np.float64)
    first_digit = np.log10(np.maximum(np.abs(exact), 1e-19))
    power = POWERS[np.clip(3 - np.floor(first_digit).astype(np.int64), 4, 22)]
    digits: NDArray[np.float64] = np.rint(exact * power) / power
    return digits
