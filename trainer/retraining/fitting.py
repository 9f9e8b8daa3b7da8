"""The stage of a retraining that makes the candidate: by a warm start from the serving model, or in full."""

import importlib.metadata
from collections.abc import Callable

from clicklog.clicks import Clicks
from modelregistry.optimiser_state import get_optimiser_state
from modelregistry.store import BundleStore
from rankers.bundle import Bundle
from rankers.families import is_counted
from schemas.settings import Settings
from trainer.config import TrainConfig
from trainer.fit import Progress
from trainer.options import used_values
from trainer.retraining.candidate import Candidate, train_candidate
from trainer.retraining.holdout import Holdout
from trainer.retraining.outcome import DecisionDraft
from trainer.retraining.reading import Reading
from trainer.retraining.resume_point import resume_directory, save_resume_point
from trainer.warm_start import WarmStart, has_shape


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
    warm = None
    if reading.parent is not None and settings.retrain_mode == "warm" and not is_counted(reading.config.family):
        warm = warm_start(reading.parent, reading.config, settings, say)
    times = holdout.train["timestamp"]
    lineage = {
        "parent": reading.parent.version if reading.parent else None,
        "kind": "full" if warm is None else "warm",
        "window": [int(times.min()), int(times.max())] if len(times) else None,  # type: ignore[arg-type]
        "package": importlib.metadata.version("nextclick"),
        "settings": used_values(reading.config),
    }
    candidate = train_candidate(
        Clicks(holdout.train, source=reading.source, offsets=dict(reading.offsets)),
        reading.config,
        warm,
        lineage,
        directory / "checkpoint",
        progress,
        say,
    )
    draft.candidate = candidate
    return candidate


def warm_start(parent: Bundle, config: TrainConfig, settings: Settings, say: Callable[[str], None]) -> WarmStart | None:
    """The start of a warm start; None, and a line for people, where the parent is not what the settings ask for.

    Args:
        parent: the serving model.
        config: of the retraining.
        settings: the models URI, NEXTCLICK_RETRAIN_EPOCHS and …_REPLAY.
        say: called with a line for people.

    Raises:
        BundleError: the optimiser's state of the parent is damaged.
    """
    if parent.family != config.family:
        say(
            f"{parent.version} is of the family {parent.family} and this retraining trains {config.family} (family in "
            "the file of NEXTCLICK_RETRAIN_CONFIG): training in full"
        )
        return None
    if not has_shape(parent, config):
        say(f"{parent.version} has another shape than the settings ask for: training in full")
        return None
    memory = get_optimiser_state(BundleStore(settings.models_uri), parent.network_version)
    trained_until = parent.trained_on.network_last if parent.trained_on else None
    return WarmStart(parent, memory, trained_until or 0, settings.retrain_epochs, settings.retrain_replay)
