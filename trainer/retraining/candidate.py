"""A candidate: the network that the newest clicks make, warm from the serving one or in full."""

import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from clicklog.filters import filter_clicks
from clicklog.items import ItemIndex
from clicklog.sessions import Sessions, sessions_of
from rankers.bundle import Bundle, new_version
from rankers.gru4rec.network import GRU4Rec
from schemas.announcement import ClickSpan
from schemas.errors import TrainingError
from trainer.checkpoint import fingerprint
from trainer.config import TrainConfig
from trainer.fit import Progress, fit
from trainer.retraining.carried_state import CarriedOptimiserState, carry_over, rows_before
from trainer.retraining.warm_start import warm_network


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


@dataclass(frozen=True)
class Candidate:
    """A trained candidate and what it was trained on."""

    bundle: Bundle
    memory: dict[str, Tensor]
    kind: Literal["warm", "full"]
    index: ItemIndex
    sessions: Sessions


def train_candidate(
    frame: pl.DataFrame,
    config: TrainConfig,
    warm: WarmStart | None,
    lineage: Mapping[str, Any],
    source: str,
    offsets: dict[int, tuple[int, int]],
    checkpoint: Path,
    device: torch.device,
    progress: Callable[[Progress], None] | None = None,
) -> Candidate:
    """Train on clicks; a training that was killed goes on from its checkpoint where the clicks are the same.

    Args:
        frame: session_id, item_id, timestamp; sessions already cut, the judged ones left out.
        config: of the training; a warm start takes its network's shape from the parent.
        warm: None for a full training.
        lineage: kept in the bundle's settings.
        source: of the clicks, in words.
        offsets: of the clicks.
        checkpoint: directory.
        device: to train on.
        progress: as `trainer.fit` calls it.

    Raises:
        TrainingError: nothing is left after filtering, or the loss is no longer a number.
    """
    kept = filter_clicks(frame, config.min_support, config.min_length)
    index = ItemIndex.of(kept)
    torch.manual_seed(config.fit.seed)
    begin = None
    if warm is None:
        network = GRU4Rec(config.shape(len(index))).to(device)
        fitted, sessions = config.fit, sessions_of(kept, index)
    else:
        # Other random numbers than the parent's training: the same negatives again and again would be pushed out.
        seed = config.fit.seed + zlib.crc32(warm.parent.version.encode())
        network = warm_network(warm.parent, index, seed).to(device)
        fitted = replace(config.fit, epochs=warm.epochs, seed=seed)
        sessions = sessions_of(_newer_and_replayed(kept, warm, seed), index)
        if warm.memory is not None:
            before = rows_before(list(index.ids), warm.parent.rows)
            begin = carry_over(network, index.support, fitted, warm.memory, before)
    training = {"clicks": fingerprint(sessions, len(index)), "parent": None if warm is None else warm.parent.version}
    training |= {"settings": repr((fitted, network.config))}
    memory = CarriedOptimiserState(checkpoint, training, begin)
    try:
        memory.load()
    except TrainingError:  # of another training, or damaged: nobody goes on from it
        shutil.rmtree(checkpoint, ignore_errors=True)
    fit(network, sessions, index.support, fitted, progress, checkpoint=memory)
    if not memory.last:  # killed after its last epoch
        found = memory.load()
        memory.last.update(found[1] if found else {})
    span = ClickSpan(
        clicks=len(kept),
        sessions=int(kept["session_id"].n_unique()),
        first=kept["timestamp"].min(),  # type: ignore[arg-type]
        last=kept["timestamp"].max(),  # type: ignore[arg-type]
        source=source,
        offsets=offsets,
    )
    bundle = Bundle(
        version=new_version(),
        network=network.cpu().requires_grad_(False).eval(),
        items=list(index.ids),
        support=index.support,
        settings={"lineage": dict(lineage)},
        trained_on=span,
    )
    return Candidate(bundle, memory.last, "full" if warm is None else "warm", index, sessions_of(kept, index))


def _newer_and_replayed(kept: pl.DataFrame, warm: WarmStart, seed: int) -> pl.DataFrame:
    starts = kept.group_by("session_id", maintain_order=True).agg(pl.col("timestamp").min().alias("start"))
    old = starts.filter(pl.col("start") <= warm.seen)["session_id"]
    chosen = np.random.default_rng(seed).random(len(old)) < warm.replay
    left_out = old.filter(pl.Series(~chosen))
    return kept.filter(~pl.col("session_id").is_in(left_out.implode()))
