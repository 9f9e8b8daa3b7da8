"""Small blends with untrained networks, sessions for them, and their rankers."""

import numpy as np
import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.blend.model import Blend
from rankers.blend.ranker import BlendRanker
from rankers.contract import Clicks
from rankers.families import counted_family_of, family_of, network_family_of

ITEMS, KNOWN, QUERIES = 90, 60, 40
CPU = torch.device("cpu")
INDEX = ItemIndex(list(range(ITEMS)), np.ones(ITEMS, dtype=np.int64))


def made(
    weight: float = 0.3,
    temperature: float = 1.5,
    family: str = "gru4rec",
    known: int = KNOWN,
    without: int = ITEMS,
) -> Blend:
    """A blend of a network of the first items and of neighbours who have all but the last 5 of all items.

    Args:
        weight: of the blend.
        temperature: of the blend.
        family: of the network.
        known: items of the network.
        without: an item that no neighbour has.
    """
    torch.manual_seed(1)
    network = network_family_of(family).untrained({"items": known, "hidden": 40})
    for parameter in network.requires_grad_(False).eval().parameters():
        parameter.mul_(2)
    random = np.random.default_rng(1)
    items = random.integers(0, ITEMS - 5, 600)
    items[items == without] = 0
    sessions = Sessions(items, np.arange(0, 601, 4))
    neighbours = counted_family_of("stan").count({"items": ITEMS, "k": 20, "newest": 50}, sessions)
    return Blend(family, network, list(range(known)), "stan", neighbours, weight, temperature)


def ranker_of(blend: Blend, scoring: str = "exact") -> BlendRanker:
    ranker = family_of("blend").ranker(blend, INDEX, CPU, scoring)
    assert isinstance(ranker, BlendRanker)
    return ranker


def sessions(count: int = QUERIES) -> list[list[int]]:
    """Sessions of 1 to 4 clicks: also of items that only the neighbours have, and that nobody has."""
    random = np.random.default_rng(2)
    made = [random.integers(0, ITEMS - 5, 1 + number % 4).tolist() for number in range(count - 4)]
    return [*made, [ITEMS - 1], [KNOWN, KNOWN + 1], [3, ITEMS - 1], [ITEMS - 1, 3]]


def clicks_of(rows: list[list[int]]) -> Clicks:
    lengths = [len(one) for one in rows]
    return Clicks(
        np.concatenate(rows),
        np.repeat(np.arange(len(rows)), lengths),
        np.concatenate([np.arange(length) for length in lengths]),
        np.zeros(sum(lengths), dtype=bool),
    )
