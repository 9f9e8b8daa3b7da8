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
from rankers.contract import Advanced, Clicks, Mask, Memory, Needs, Top
from rankers.scoring.masked import best_allowed


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


class RecentItemsRanker:
    """Keeps no memory; queries are `Prefixes`."""

    def __init__(self, model: RecentItems, items: ItemIndex) -> None:
        self.items = items
        self.needs = Needs(history=model.history, memory=0)
        self._model = model

    def rebuild(self, histories: Prefixes) -> Memory:
        return Memory.only_seen(histories)

    def advance(self, clicks: Clicks, memory: Memory) -> Advanced:
        prefixes, ranked = clicks.prefixes(self.needs.history)
        memory.seen[clicks.session] = ranked  # of each session's last click
        return Advanced(prefixes, ranked, memory)

    def best(self, queries: Prefixes, k: int, allowed: Mask | None = None) -> Top:
        everything = np.ones(len(self.items), dtype=bool)
        return best_allowed(self.scores(queries), k, everything if allowed is None else allowed)

    def scores(self, queries: Prefixes, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        scores = self._model.scores(queries)  # (Q, I)
        return scores if rows is None else scores[:, rows]

    def warm_up(self, largest_batch: int) -> None: ...


class RecentItemsFamily:
    name = "recent-items"
    options = ()

    def needs(self, model: RecentItems) -> Needs:
        return Needs(history=model.history, memory=0)

    def config(self, model: RecentItems) -> dict[str, Any]:
        return {"history": model.history}

    def save(self, model: RecentItems) -> dict[str, bytes]:
        return {"likeness.json": json.dumps(model.likeness.tolist()).encode()}

    def network_files(self, model: RecentItems) -> None: ...

    def load(self, config: Mapping[str, Any], files: Mapping[str, bytes], items: int) -> RecentItems:
        likeness = np.array(json.loads(files["likeness.json"]), dtype=np.float32)
        return RecentItems(likeness.reshape(items, items), config["history"])

    def ranker(self, model: RecentItems, items: ItemIndex, device: torch.device, scoring: str) -> RecentItemsRanker:  # noqa: ARG002
        return RecentItemsRanker(model, items)
