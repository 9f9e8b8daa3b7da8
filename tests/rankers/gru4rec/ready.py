"""A network made ready on the CPU, for tests."""

import numpy as np
import torch

from clicklog.items import ItemIndex
from rankers.gru4rec.network import GRU4Rec
from rankers.gru4rec.ranker import GRU4RecRanker


def ranker_of(network: GRU4Rec) -> GRU4RecRanker:
    items = network.config.items
    return GRU4RecRanker(network, ItemIndex(list(range(items)), np.ones(items, dtype=np.int64)), torch.device("cpu"))
