"""A candidate: the bundle trained on the newest clicks, as a warm start from the serving bundle or in full."""

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
        kind: `warm` for a warm start from the serving bundle, or `full`.
        index: its items.
        sessions: all training sessions, to fit the baselines.
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
    say: Callable[[str], None] = lambda _line: None,
) -> Candidate:
    """Train on clicks. A killed training continues from its checkpoint if the clicks are the same.

    Args:
        clicks: already cut into sessions, without the judged sessions.
        config: of the training; a warm start takes the network's shape from the parent.
        warm: the parent and its settings; None for a full training.
        lineage: stored in the bundle's settings.
        checkpoint: directory of the checkpoint.
        progress: called as in `trainer.fit`.
        say: called with a line for people.

    Raises:
        SettingsError: the device does not exist.
        TrainingError: nothing is left after filtering, or the loss is not finite.
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
        say=say,
    )
    bundle = trained.bundle
    kind: Literal["warm", "full"] = "full" if warm is None else "warm"
    return Candidate(bundle, trained.fit.state, kind, bundle.items, trained.sessions)
