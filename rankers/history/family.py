"""Networks that read the history as families of models: bundle files, and how a network is served and extended."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clicklog.items import ItemIndex
from rankers.bundle_config import checked_config
from rankers.contract import Needs
from rankers.history.network import HistoryConfig, HistoryNetwork
from rankers.history.ranker import HistoryRanker, needs_of
from rankers.network_files import grown_from, load_weights, save_weights
from schemas.errors import BundleError


class HistoryFamily:
    """See `rankers.contract.Family`. A model is a network of one class, in float32.

    Args:
        name: of the family.
        network: its class.
        shape: the class of the network's configuration.
    """

    def __init__(self, name: str, network: type[HistoryNetwork], shape: type[HistoryConfig]) -> None:
        self.name = name
        self.options = tuple(field.name for field in fields(shape) if field.name != "items")
        self._shape = shape
        self._network = network

    def needs(self, model: HistoryNetwork) -> Needs:
        """The last items of the window; no memory."""
        return needs_of(model)

    def config(self, model: HistoryNetwork) -> dict[str, Any]:
        """The network's shape."""
        return asdict(model.config)

    def untrained(self, config: Mapping[str, Any]) -> HistoryNetwork:
        """A network with that shape and random weights."""
        return self._network(self._shape(**config))

    def save(self, model: HistoryNetwork) -> dict[str, bytes]:
        """One file with the network's tensors."""
        return save_weights(model)

    def network_files(self, model: HistoryNetwork) -> None:
        """All."""

    def load(self, config: Mapping[str, Any], files: Mapping[str, bytes], items: int) -> HistoryNetwork:
        """The network on the CPU, for inference."""
        shape = checked_config(self._shape, config)
        if shape.items != items:
            raise BundleError(f"a network of {shape.items} items with {items} different ids")
        return load_weights(lambda: self._network(shape), files, getattr(shape, "layers", 1))

    def ranker(self, model: HistoryNetwork, items: ItemIndex, device: torch.device, scoring: str) -> HistoryRanker:
        """See `HistoryRanker`."""
        return HistoryRanker(model, items, device, scoring)

    def grown(self, model: HistoryNetwork, before: NDArray[np.int64], seed: int) -> HistoryNetwork:
        """Copies the parent's layers and its rows of the items in both; new rows are random as in a new network."""
        return grown_from(model, lambda: self._network(replace(model.config, items=len(before))), before, seed)
