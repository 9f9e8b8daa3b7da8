"""GRU4Rec as a family of models: its bundle files, and how a network is loaded, served and extended to other items."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from clicklog.items import ItemIndex
from rankers.contract import Needs
from rankers.gru4rec.network import GRU4Rec
from rankers.gru4rec.ranker import GRU4RecRanker, needs_of
from rankers.recurrent import NetworkConfig
from schemas.errors import BundleError

WEIGHTS = "weights.safetensors"


class GRU4RecFamily:
    """See `rankers.contract.Family`. A model is a `GRU4Rec` in float32."""

    name = "gru4rec"

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
        return {
            WEIGHTS: save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})
        }

    def load(self, config: Mapping[str, Any], files: Mapping[str, bytes], items: int) -> GRU4Rec:
        """The network on the CPU, for inference."""
        shape = NetworkConfig(**config)
        if shape.items != items:
            raise BundleError(f"a network of {shape.items} items with {items} different ids")
        return _build(shape, load(files[WEIGHTS]))

    def ranker(self, model: GRU4Rec, items: ItemIndex, device: torch.device, scoring: str) -> GRU4RecRanker:
        """See `GRU4RecRanker`."""
        return GRU4RecRanker(model, items, device, scoring)

    def grown(self, model: GRU4Rec, before: NDArray[np.int64], seed: int) -> GRU4Rec:
        """Copies the parent's layers and its rows of the items in both; new rows are random as in a new network."""
        shape = model.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = GRU4Rec(replace(shape, items=len(before)))
        now = torch.from_numpy(np.flatnonzero(before >= 0))  # (K,) rows of the items that the parent has too
        fresh = network.state_dict()
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if name in model.item_tables:
                    fresh[name][now] = tensor[torch.from_numpy(before)[now]]
                else:
                    fresh[name].copy_(tensor)
        network.load_state_dict(fresh)
        return network


def _build(config: NetworkConfig, tensors: dict[str, Tensor]) -> GRU4Rec:
    table = tensors.get("output_weight")
    if table is None or tuple(table.shape) != (config.items, config.hidden) or config.layers > len(tensors):
        found_table = None if table is None else tuple(table.shape)
        raise BundleError(
            f"output_weight is {found_table}, the network's shape asks for {(config.items, config.hidden)} and "
            f"{config.layers} layers"
        )
    with torch.random.fork_rng(devices=[]):
        network = GRU4Rec(config)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))[0]
        raise BundleError(f"tensor {wrong!r} is {found.get(wrong)}, the network's shape asks for {expected.get(wrong)}")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
            raise BundleError(f"tensor {name!r} is not made of finite float32 numbers")
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)
