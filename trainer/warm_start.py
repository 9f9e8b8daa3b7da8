"""Warm start: a training that goes on from a trained bundle, for the items and sessions of now."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from clicklog.items import ItemIndex
from rankers.bundle import Bundle
from rankers.gru4rec.network import GRU4Rec
from trainer.carried_state import ITEM_TABLES, carry_over, rows_before
from trainer.config import FitConfig


@dataclass(frozen=True)
class WarmStart:
    """What a warm start begins with.

    Attributes:
        parent: the serving bundle.
        memory: the optimiser's state that its training ended with; None where it is gone or was never kept.
        seen: clicks up to this time were trained on by the parent, ms since 1970 UTC.
        epochs: passes over the new sessions and the replayed ones.
        replay: share of the sessions seen before that is trained on again, so that they are not forgotten.
    """

    parent: Bundle
    memory: Mapping[str, Tensor] | None
    seen: int
    epochs: int
    replay: float

    def fit_config(self, config: FitConfig) -> FitConfig:
        """The options of a full training, for so many passes and with random numbers of its own.

        With the parent's random numbers the same items would be drawn as negatives again, and their scores be pushed
        down twice.
        """
        return replace(config, epochs=self.epochs, seed=config.seed + zlib.crc32(self.parent.version.encode()))

    def choose_sessions(self, clicks: pl.DataFrame, seed: int) -> pl.DataFrame:
        """The clicks of the sessions that began after `seen`, and of a random share of the others."""
        starts = clicks.group_by("session_id", maintain_order=True).agg(pl.col("timestamp").min().alias("start"))
        old = starts.filter(pl.col("start") <= self.seen)["session_id"]
        chosen = np.random.default_rng(seed).random(len(old)) < self.replay
        left_out = old.filter(pl.Series(~chosen))
        return clicks.filter(~pl.col("session_id").is_in(left_out.implode()))

    def first_state(self, network: GRU4Rec, index: ItemIndex, config: FitConfig) -> dict[str, Tensor] | None:
        """The optimiser's state to begin with; None to begin with an empty one."""
        if self.memory is None:
            return None
        before = rows_before(index.ids, self.parent.rows)
        return carry_over(network, index.support, config, self.memory, before)


def warm_network(parent: Bundle, index: ItemIndex, seed: int = 0) -> GRU4Rec:
    """A network whose items are those of `index`: rows of known items are the parent's, the layers too.

    New items begin as in a new network of the parent's shape. Items that the index does not have are retired.

    Args:
        parent: any trained bundle.
        index: items of the clicks of now.
        seed: of the new rows.
    """
    shape = parent.network.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GRU4Rec(replace(shape, items=len(index)))
    row = rows_before(index.ids, parent.rows)  # (I,)
    now = torch.nonzero(row >= 0).flatten()  # (K,) rows of items that both know
    before = row[now]  # (K,)
    fresh = network.state_dict()
    with torch.no_grad():
        for name, tensor in parent.network.state_dict().items():
            if name in ITEM_TABLES:
                fresh[name][now] = tensor[before]
            else:
                fresh[name].copy_(tensor)
    network.load_state_dict(fresh)
    return network
