"""Warm start: a network for the items of now, with what the serving one has learnt."""

from dataclasses import replace

import torch

from clicklog.items import ItemIndex
from rankers.bundle import Bundle
from rankers.gru4rec.network import GRU4Rec


def warm_network(parent: Bundle, index: ItemIndex, seed: int = 0) -> GRU4Rec:
    """A network whose items are those of `index`: rows of known items are the parent's, the layers too.

    New items begin as fresh networks do, at the width of the parent's shape. Items that the index does not have are
    retired.

    Args:
        parent: any trained bundle.
        index: items of the clicks of now.
        seed: of the new rows.
    """
    shape = parent.network.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GRU4Rec(replace(shape, items=len(index)))
    known = torch.tensor([parent.rows.get(item, -1) for item in index.ids])  # (I,)
    now = torch.nonzero(known >= 0).flatten()  # (K,) rows of items that both know
    before = known[now]  # (K,)
    state = parent.network.state_dict()
    fresh = network.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            if tensor.shape[:1] == (shape.items,) and fresh[name].shape[0] == len(index) and name in _TABLES:
                fresh[name][now] = tensor[before]
            else:
                fresh[name].copy_(tensor)
    network.load_state_dict(fresh)
    return network


def known_share(parent: Bundle, index: ItemIndex) -> float:
    """The share of the items that the parent knows."""
    return sum(item in parent.rows for item in index.ids) / max(len(index), 1)


_TABLES = ("output_weight", "output_bias", "embedding")
