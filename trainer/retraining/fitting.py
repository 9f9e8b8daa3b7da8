"""The stage of a retraining that trains the candidate: a warm start from the serving model, or a full training."""

import importlib.metadata
from collections.abc import Callable
from dataclasses import asdict

from clicklog.clicks import Clicks
from modelregistry.optimiser_state import get_optimiser_state
from modelregistry.store import BundleStore
from rankers.families import family_of
from schemas.settings import Settings
from trainer.fit import Progress
from trainer.retraining.candidate import Candidate, train_candidate
from trainer.retraining.holdout import Holdout
from trainer.retraining.outcome import DecisionDraft
from trainer.retraining.reading import Reading
from trainer.retraining.resume_point import resume_directory, save_resume_point
from trainer.warm_start import WarmStart


def fit_candidate(
    reading: Reading,
    holdout: Holdout,
    settings: Settings,
    draft: DecisionDraft,
    say: Callable[[str], None],
    progress: Callable[[Progress], None] | None,
) -> Candidate:
    """Save the resume point, and train on the clicks that are not held out.

    Args:
        reading: with the serving model.
        holdout: with the clicks to train on.
        settings: of the deployment.
        draft: gets the candidate.
        say: called with a line for people.
        progress: called as in `trainer.fit`.

    Raises:
        BundleError: the optimiser's state of the serving model is damaged.
        TrainingError: the data directory cannot be written, or the training fails.
    """
    directory = resume_directory(settings)
    save_resume_point(directory, reading.resume_point)
    warm = _warm_start(reading, settings, say)
    times = holdout.train["timestamp"]
    lineage = {
        "parent": reading.parent.version if reading.parent else None,
        "kind": "full" if warm is None else "warm",
        "window": [int(times.min()), int(times.max())] if len(times) else None,  # type: ignore[arg-type]
        "package": importlib.metadata.version("nextclick"),
        "settings": asdict(reading.config),
    }
    candidate = train_candidate(
        Clicks(holdout.train, source=reading.source, offsets=dict(reading.offsets)),
        reading.config,
        warm,
        lineage,
        directory / "checkpoint",
        progress,
    )
    draft.candidate = candidate
    return candidate


def _warm_start(reading: Reading, settings: Settings, say: Callable[[str], None]) -> WarmStart | None:
    """The start of a warm start; None for a full training."""
    parent = reading.parent
    if parent is None or settings.retrain_mode != "warm":
        return None
    config = family_of(parent.family).config(parent.model)
    if (parent.family, config) != (reading.config.family, reading.config.shape(len(parent.items))):
        say(f"{parent.version} has another shape than the settings ask for: training in full")
        return None
    memory = get_optimiser_state(BundleStore(settings.models_uri), parent.version)
    return WarmStart(parent, memory, reading.seen or 0, settings.retrain_epochs, settings.retrain_replay)
