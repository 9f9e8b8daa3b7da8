"""Neighbourhood methods as families of models: bundle files, and how a model is counted and served."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.bundle_config import checked_config
from rankers.contract import Needs
from rankers.neighbours.method import NeighboursConfig
from rankers.neighbours.ranker import NeighboursRanker
from rankers.neighbours.session_index import SessionIndex, index_sessions, largest_bytes, load_index, save_index
from schemas.errors import BundleError


@dataclass(frozen=True, eq=False)
class Neighbours:
    """A model: a method with its settings, and the training sessions."""

    config: NeighboursConfig
    index: SessionIndex


class NeighboursFamily:
    """See `rankers.contract.CountedFamily` and `RefreshableFamily`. A model is a `Neighbours` of one method.

    Args:
        name: of the family.
        method: the class of its settings.
    """

    def __init__(self, name: str, method: type[NeighboursConfig]) -> None:
        self.name = name
        self.options = tuple(field.name for field in fields(method) if field.name != "items")
        self._method = method

    def needs(self, model: Neighbours) -> Needs:
        """The last items of the window; no memory."""
        return Needs(history=model.config.window, memory=0)

    def config(self, model: Neighbours) -> dict[str, Any]:
        """The settings of the method."""
        return asdict(model.config)

    def largest_bytes(self, sessions: Sessions, items: int) -> int:
        """Of the index and the weights of sessions and items."""
        return largest_bytes(sessions, items) + 4 * (len(sessions) + items)

    def count(self, config: Mapping[str, Any], sessions: Sessions) -> Neighbours:
        """Index the sessions."""
        method = self._method(**config)
        return Neighbours(method, index_sessions(sessions, method.items, method.newest))

    def kept_items(self, model: Neighbours) -> None:
        """There is no network."""

    def recounted(self, model: Neighbours, sessions: Sessions, items: ItemIndex) -> Neighbours:
        """The sessions indexed with the same settings."""
        return self.count(asdict(replace(model.config, items=len(items))), sessions)

    def save(self, model: Neighbours) -> dict[str, bytes]:
        """One file with the arrays of the index."""
        return save_index(model.index)

    def network_files(self, model: Neighbours) -> tuple[str, ...]:  # noqa: ARG002
        """None of them: nothing is learned, and there is no memory."""
        return ()

    def load(self, config: Mapping[str, Any], files: Mapping[str, bytes], items: int) -> Neighbours:
        """The model; see `load_index` for what is checked."""
        method = checked_config(self._method, config)
        if method.items != items:
            raise BundleError(f"a model of {method.items} items with {items} different ids")
        return Neighbours(method, load_index(files, items))

    def ranker(self, model: Neighbours, items: ItemIndex, device: torch.device, scoring: str) -> NeighboursRanker:  # noqa: ARG002
        """See `NeighboursRanker`: it computes on the CPU, and always exactly."""
        return NeighboursRanker(model.config, model.index, items)
