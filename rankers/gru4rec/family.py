"""GRU4Rec as a family of models: its bundle files, and how a network is loaded, served and extended to other items."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clicklog.items import ItemIndex
from rankers.bundle_config import checked_config
from rankers.contract import Needs
from rankers.gru4rec.network import GRU4Rec
from rankers.gru4rec.ranker import GRU4RecRanker, needs_of
from rankers.network_files import grown_from, load_weights, save_weights
from rankers.recurrent import NetworkConfig
from schemas.errors import BundleError


class GRU4RecFamily:
    """See `rankers.contract.Family`. A model is a `GRU4Rec` in float32."""

    name = "gru4rec"
    options = ("hidden", "layers", "input", "reset")

    def needs(self, model: GRU4Rec) -> Needs:
        """The hidden state; no history."""
        return needs_of(model)

    def config(self, model: GRU4Rec) -> dict[str, Any]:
        """The network's shape."""
        return asdict(model.config)

    def untrained(self, config: Mapping[str, Any]) -> GRU4Rec:
        """A network with that shape and random weights."""
        return GRU4Rec(NetworkConfig(**config))

    def save(self, model: GRU4Rec) -> dict[str, bytes]:
        """One file with the network's tensors."""
        return save_weights(model)

    def network_files(self, model: GRU4Rec) -> None:
        """All."""

    def load(self, config: Mapping[str, Any], files: Mapping[str, bytes], items: int) -> GRU4Rec:
        """The network on the CPU, for inference."""
        shape = checked_config(NetworkConfig, config)
        if shape.items != items:
            raise BundleError(f"a network of {shape.items} items with {items} different ids")
        return load_weights(lambda: GRU4Rec(shape), files, shape.layers)

    def ranker(self, model: GRU4Rec, items: ItemIndex, device: torch.device, scoring: str) -> GRU4RecRanker:
        """See `GRU4RecRanker`."""
        return GRU4RecRanker(model, items, device, scoring)

    def grown(self, model: GRU4Rec, before: NDArray[np.int64], seed: int) -> GRU4Rec:
        """Copies the parent's layers and its rows of the items in both; new rows are random as in a new network."""
        return grown_from(model, lambda: GRU4Rec(replace(model.config, items=len(before))), before, seed)
