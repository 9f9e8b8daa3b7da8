"""Warm start: trains a trained bundle further, on the current items and sessions."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from clicklog.items import ItemIndex
from rankers.bundle import Bundle
from rankers.families import family_of, network_family_of
from trainer.backends.backend import Network
from trainer.carried_state import carry_over
from trainer.config import BLEND, FitConfig, TrainConfig


@dataclass(frozen=True)
class WarmStart:
    """What a warm start begins with.

    Attributes:
        parent: the serving bundle.
        memory: the final optimiser state of the parent's training; None if it was lost or never saved.
        seen: the parent was trained on clicks up to this time, ms since 1970 UTC.
        epochs: passes over the new sessions and the replayed ones.
        replay: share of the older sessions that is trained on again, so that the network does not forget them.
    """

    parent: Bundle
    memory: Mapping[str, Tensor] | None
    seen: int
    epochs: int
    replay: float

    def fit_config(self, config: FitConfig) -> FitConfig:
        """The options of a full training, with this number of epochs and another seed.

        With the parent's seed the same items would be drawn as negatives again, and their scores would be pushed down
        twice.
        """
        return replace(config, epochs=self.epochs, seed=config.seed + zlib.crc32(self.parent.network_version.encode()))

    def choose_sessions(self, clicks: pl.DataFrame, seed: int) -> pl.DataFrame:
        """The clicks of the sessions that began after `seen`, and of a random share of the older sessions."""
        starts = clicks.group_by("session_id", maintain_order=True).agg(pl.col("timestamp").min().alias("start"))
        old = starts.filter(pl.col("start") <= self.seen)["session_id"]
        chosen = np.random.default_rng(seed).random(len(old)) < self.replay
        left_out = old.filter(pl.Series(~chosen))
        return clicks.filter(~pl.col("session_id").is_in(left_out.implode()))

    def first_state(self, network: Network, index: ItemIndex, config: FitConfig) -> dict[str, Tensor] | None:
        """The initial state of the fit, with the parent's accumulators; None to begin with empty ones."""
        if self.memory is None:
            return None
        before = torch.from_numpy(rows_before(self.parent, index))
        return carry_over(network, index.support, config, self.memory, before)


def has_shape(bundle: Bundle, config: TrainConfig) -> bool:
    """Whether a new model of the bundle's items would have its shape: of a blend, the families and both parts."""
    family = family_of(bundle.family)
    found = family.config(bundle.model)
    if config.family != BLEND:
        return found == config.shape(len(bundle.items))
    network, neighbours = config.parts
    return (found["network"], found["neighbours"]) == (
        {"family": network.family, "config": network.shape(len(bundle.model.network_items))},
        {"family": neighbours.family, "config": neighbours.shape(len(bundle.items))},
    )


def warm_network(parent: Bundle, index: ItemIndex, seed: int = 0) -> Any:
    """The parent's model for the current items; items that are not in the index are removed.

    Args:
        parent: a bundle of a network.
        index: items of the current clicks.
        seed: of the initial weights of new items.
    """
    return network_family_of(parent.family).grown(parent.model, rows_before(parent, index), seed)


def rows_before(parent: Bundle, index: ItemIndex) -> NDArray[np.int64]:
    """Each item's row in the parent, (I,) int64; -1 for a new item."""
    return np.array([parent.items.row_of.get(item, -1) for item in index.ids], dtype=np.int64)
