"""A candidate: the bundle that the newest clicks make, warm from the serving one or in full."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from clicklog.clicks import Clicks
from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.bundle import Bundle
from trainer.config import TrainConfig
from trainer.fit import Progress
from trainer.train import train
from trainer.warm_start import WarmStart


@dataclass(frozen=True)
class Candidate:
    """A trained candidate and what it was trained on.

    Attributes:
        bundle: the candidate.
        memory: the optimiser's state at the end, for the next warm start.
        kind: `warm` from the serving bundle, or in `full`.
        index: its items.
        sessions: all of the clicks, for the methods that it is compared with.
    """

    bundle: Bundle
    memory: dict[str, Tensor]
    kind: Literal["warm", "full"]
    index: ItemIndex
    sessions: Sessions


def train_candidate(
    clicks: Clicks,
    config: TrainConfig,
    warm: WarmStart | None,
    lineage: Mapping[str, Any],
    checkpoint: Path,
    progress: Callable[[Progress], None] | None = None,
) -> Candidate:
    """Train on clicks; a training that was killed goes on from its checkpoint where the clicks are the same.

    Args:
        clicks: sessions already cut, the judged ones left out.
        config: of the training; a warm start takes its network's shape from the parent.
        warm: None for a full training.
        lineage: kept in the bundle's settings.
        checkpoint: directory.
        progress: as `trainer.fit` calls it.

    Raises:
        SettingsError: the device is not there.
        TrainingError: nothing is left after filtering, or the loss is no longer a number.
    """
    trained = train(
        clicks,
        config,
        {"lineage": dict(lineage)},
        progress,
        checkpoint,
        warm=warm,
        unattended=True,
        device_source="NEXTCLICK_DEVICE",
    )
    bundle = trained.bundle
    kind: Literal["warm", "full"] = "full" if warm is None else "warm"
    return Candidate(bundle, trained.fit.state, kind, bundle.items, trained.sessions)
