"""A family for tests that reads the history and keeps no memory: recommends items similar to the last clicks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from rankers.contract import Needs
from rankers.prefix_ranker import PrefixRanker


@dataclass(frozen=True)
class RecentItems:
    """Scores sum the similarity (I, I) to the last `history` items; each weighs half as much as the next one."""

    likeness: NDArray[np.float32]
    history: int

    @classmethod
    def random(cls, items: int, history: int = 4, seed: int = 0) -> "RecentItems":
        return cls(np.random.default_rng(seed).random((items, items)).astype(np.float32), history)

    def scores(self, prefixes: Prefixes) -> NDArray[np.float32]:
        found = np.zeros((len(prefixes), len(self.likeness)), dtype=np.float32)
        for row, (first, end) in enumerate(zip(prefixes.offsets[:-1], prefixes.offsets[1:], strict=True)):
            for item in prefixes.items[first:end]:
                found[row] = found[row] / 2 + self.likeness[item]
        return found


class RecentItemsFamily:
    name = "recent-items"
    options = ()

    def needs(self, model: RecentItems) -> Needs:
        return Needs(history=model.history, memory=0)

    def config(self, model: RecentItems) -> dict[str, Any]:
        return {"history": model.history}

    def untrained(self, config: Mapping[str, Any]) -> RecentItems:
        raise NotImplementedError("counted, not trained")

    def save(self, model: RecentItems) -> dict[str, bytes]:
        return {"likeness.json": json.dumps(model.likeness.tolist()).encode()}

    def load(self, config: Mapping[str, Any], files: Mapping[str, bytes], items: int) -> RecentItems:
        likeness = np.array(json.loads(files["likeness.json"]), dtype=np.float32)
        return RecentItems(likeness.reshape(items, items), config["history"])

    def ranker(self, model: RecentItems, items: ItemIndex, device: torch.device, scoring: str) -> PrefixRanker:  # noqa: ARG002
        return PrefixRanker(model, items, model.history)

    def grown(self, model: RecentItems, before: NDArray[np.int64], seed: int) -> RecentItems:
        likeness = np.random.default_rng(seed).random((len(before), len(before))).astype(np.float32)
        known = np.flatnonzero(before >= 0)
        likeness[np.ix_(known, known)] = model.likeness[np.ix_(before[known], before[known])]
        return RecentItems(likeness, model.history)
