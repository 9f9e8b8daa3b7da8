"""The first stage of a retraining: get the serving model, the training settings and the clicks of the window.

Everything that can be checked before the training is checked here.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import polars as pl
import torch

from clicklog.log import ClickLog, open_log
from modelregistry.leased_topic import LeasedTopic
from modelregistry.rollback import missing_announcement
from modelregistry.store import BundleStore
from modelregistry.stored_bundle import read_stored_bundle
from rankers.bundle import Bundle
from rankers.device import choose_device
from schemas.announcement import ModelAnnouncement
from schemas.durations import milliseconds
from schemas.errors import BundleError, SettingsError
from schemas.settings import Settings
from trainer.config import BLEND, TrainConfig
from trainer.presets import RETRAINING
from trainer.retraining.outcome import DecisionDraft, Refused
from trainer.retraining.resume_point import ResumePoint, forget_resume_point, load_resume_point, resume_directory
from trainer.retraining.window import usable_clicks
from trainer.settings_file import read_train_config


@dataclass(frozen=True)
class Reading:
    """The inputs of a retraining.

    Attributes:
        config: of the training.
        serving: the announcement of the serving model; None if none serves.
        parent: the bundle of the serving model.
        seen: time of the last click that had a part in the training of the parent's network, ms since 1970 UTC; None
            if unknown.
        clicks: session_id, item_id, timestamp; cut into sessions, a session's clicks in adjacent rows.
        source: description of where the clicks were read.
        offsets: partition → first offset covered and the offset after the last.
        resume_point: lets a killed retraining continue.
    """

    config: TrainConfig
    serving: ModelAnnouncement | None
    parent: Bundle | None
    seen: int | None
    clicks: pl.DataFrame
    source: str
    offsets: Mapping[int, tuple[int, int]]
    resume_point: ResumePoint


def read(
    connection: LeasedTopic, settings: Settings, draft: DecisionDraft, say: Callable[[str], None], now: int
) -> Reading | Refused:
    """Check the settings and the store, fetch the serving model, and read the clicks of the window.

    Args:
        connection: to the models topic.
        settings: of the deployment.
        draft: gets the serving version and the missing parts of the log.
        say: called with a line for people.
        now: the time by this machine's clock, ms since 1970 UTC.

    Raises:
        NextclickError: a device, store, topic or bundle is missing, or the clicks are not usable.
    """
    store = BundleStore(settings.models_uri)
    store.check_writable()
    config = training_config(settings)
    if config.validate and config.family != BLEND:  # a blend is trained on the sessions that fit its weight, too
        raise SettingsError(
            f"{settings.retrain_config}: validate = {config.validate}: a retraining judges on newest sessions of its "
            "own (NEXTCLICK_RETRAIN_HOLDOUT), and all older ones are trained on: leave it out"
        )
    config = replace(config, device=settings.device)
    config.check_session_history(settings)
    choose_device(config.device)  # fails now, not after the log was read
    torch.set_num_threads(settings.torch_threads)
    state = connection.run(connection.topic.read())
    serving, shadow = state.serving, state.shadow
    draft.serving = serving.version if serving else None
    if serving is None and state.history:
        say(f"warning: {missing_announcement(state)}")
    if (
        settings.retrain_release == "shadow"
        and serving
        and shadow
        and shadow.network_version != serving.network_version
    ):
        return Refused(f"{shadow.version} is still scored beside {serving.version}")
    parent = fetch_serving(serving, store) if serving else None
    deciding = _deciding(config, settings)
    network_version = serving.network_version if serving else None  # a refresh in between changes nothing
    resumed = load_resume_point(resume_directory(settings), network_version, deciding, now)
    begun = now
    if resumed is not None:
        say("going on with a retraining that was interrupted")
        now = resumed.now
    since = resumed.since if resumed else max(now - milliseconds(settings.retrain_window), 0)
    with open_log(settings, since, run=connection.run) as log:
        if resumed is not None and resumed.logs and resumed.logs != log.logs:
            say("the clicks topic began anew since then: beginning this retraining anew too")
            forget_resume_point(resume_directory(settings))
            return read(connection, settings, draft, say, begun)
        draft.missing = [str(line) for line in log.missing]
        for line in draft.missing:
            say(f"missing: {line}")
        frame, offsets = _frame_up_to(log, resumed)
        if log.skipped:
            say(f"{log.skipped:,} messages are no valid click: skipped")
    clicks = usable_clicks(frame, log.source, since, now, settings, say)
    ends = {number: end for number, (_, end) in offsets.items()}
    point = ResumePoint(since, now, ends, network_version, deciding, log.logs)
    seen = parent.trained_on.network_seen_until if parent and parent.trained_on else None
    return Reading(config, serving, parent, seen, clicks, log.source, offsets, point)


def training_config(settings: Settings) -> TrainConfig:
    """The options of a retraining: those of the file NEXTCLICK_RETRAIN_CONFIG, or its defaults.

    Raises:
        SettingsError: the file cannot be read, or an option does not exist.
    """
    return read_train_config(settings.retrain_config, RETRAINING) if settings.retrain_config else RETRAINING


def _deciding(config: TrainConfig, settings: Settings) -> dict[str, Any]:
    """The settings that determine the training: a resume point with other settings is not used."""
    return {
        "config": asdict(config),
        "mode": settings.retrain_mode,
        "window_ms": milliseconds(settings.retrain_window),
    }


def fetch_serving(serving: ModelAnnouncement, store: BundleStore) -> Bundle:
    """The bundle of the serving model.

    Raises:
        BundleError: it cannot be fetched.
    """
    try:
        return read_stored_bundle(store, serving.uri, serving.sha256)
    except BundleError as error:
        raise BundleError(
            f"the serving model {serving.version} cannot be fetched, so nothing can be compared with it ({error}): put "
            "its bundle back, or promote another version"
        ) from error


def _frame_up_to(log: ClickLog, point: ResumePoint | None) -> tuple[pl.DataFrame, dict[int, tuple[int, int]]]:
    """The clicks of the log and its offsets; a resumed retraining ends at the offsets of its resume point."""
    if point is None:
        return log.frame(), log.offsets
    return log.frame(point.ends), {
        number: (first, point.ends.get(number, end)) for number, (first, end) in log.offsets.items()
    }
