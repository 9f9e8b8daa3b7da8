"""A refresh: the neighbours of the serving model are counted anew on the newest clicks; its network and settings stay.

A failure does not change the serving model. The models topic has one record of refreshes per network and outcome.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import torch

from clicklog.clicks import Clicks
from clicklog.log import open_log
from modelregistry.leased_topic import LeasedTopic, lease_topic
from modelregistry.rollback import missing_announcement
from modelregistry.store import BundleStore
from rankers.bundle import Bundle, read_bundle, write_bundle
from rankers.families import refreshable_family_of
from schemas.announcement import ModelAnnouncement
from schemas.decision import Decision
from schemas.durations import milliseconds
from schemas.errors import BundleError, NextclickError, one_line
from schemas.settings import Settings
from trainer.config import TrainConfig
from trainer.retraining.reading import fetch_serving, training_config
from trainer.retraining.recounting import own_filters, recount
from trainer.retraining.refresh_decision import RefreshDraft
from trainer.retraining.refresh_release import record, release_refresh, withdrawn_refreshes
from trainer.retraining.sanity import Insane, check_answers, check_size, compare_neighbours
from trainer.retraining.window import usable_clicks


def refresh(settings: Settings, say: Callable[[str], None] = lambda _line: None, now: int | None = None) -> Decision:
    """Count the neighbours of the serving model anew, check the result, announce it and record that.

    Args:
        settings: of the deployment.
        say: called with a line for people.
        now: the present time, ms since 1970 UTC; None: this machine's clock.

    Returns:
        `refreshed`; or `kept`, with the reason: there is no new click, the result is not sane, another model was
        announced meanwhile, or refreshes of this network were rolled back from. That there is no new click is not
        recorded.

    Raises:
        NextclickError: the refresh failed; that is recorded, and the serving model is not changed.
    """
    moment = now or time.time_ns() // 1_000_000
    with lease_topic(settings, "refresh") as connection:
        BundleStore(settings.models_uri).check_writable()
        state = connection.run(connection.topic.read())
        if state.serving is None:
            raise BundleError(f"there is nothing to refresh: {missing_announcement(state)}")
        draft = RefreshDraft(settings.model_name, state.serving)
        try:
            return _refresh(withdrawn_refreshes(state), draft, connection, settings, say, moment)
        except NextclickError as error:
            record("failed", one_line(error), draft, connection, say)
            raise


def _refresh(
    withdrawn: list[str],
    draft: RefreshDraft,
    connection: LeasedTopic,
    settings: Settings,
    say: Callable[[str], None],
    now: int,
) -> Decision:
    serving = draft.serving
    if withdrawn:
        reason = (
            f"the refreshes of {serving.version} up to {withdrawn[-1]} were rolled back from, and a refresh would "
            f"count the same clicks; once the log is right, `nextclick models promote {serving.version}` allows "
            "refreshes again"
        )
        return record("kept", reason, draft, connection, say)
    torch.set_num_threads(settings.torch_threads)
    config = training_config(settings)
    bundle = fetch_serving(serving, BundleStore(settings.models_uri))
    refreshable_family_of(bundle.family)  # refuses another family before the log is read
    since = max(now - milliseconds(settings.retrain_window), 0)
    with open_log(settings, since, run=connection.run) as log:
        draft.missing = [str(line) for line in log.missing]
        for line in draft.missing:
            say(f"missing: {line}")
        if log.skipped:
            say(f"{log.skipped:,} messages are no valid click: skipped")
        frame, source, offsets = log.frame(), log.source, log.offsets
    if _is_known(bundle, _announced(serving), frame, offsets):
        reason = f"nothing new: {source} has no click that {bundle.version} does not have; {bundle.version} serves on"
        return draft.decision("kept", reason)
    clicks = Clicks(usable_clicks(frame, source, since, now, settings, say), source, offsets)
    try:
        with tempfile.TemporaryDirectory(prefix="nextclick-refresh-") as scratch:
            directory = Path(scratch) / "bundle"
            _count(bundle, clicks, config, directory, draft, say)
            return release_refresh(directory, draft, connection, settings, say)
    except Insane as refusal:
        return record("kept", str(refusal), draft, connection, say)


def _count(
    bundle: Bundle,
    clicks: Clicks,
    config: TrainConfig,
    directory: Path,
    draft: RefreshDraft,
    say: Callable[[str], None],
) -> None:
    """Count the neighbours anew, write the refreshed bundle, and check it.

    Raises:
        Insane: it must not serve.
    """
    if own_filters(bundle) is None:
        say(
            f"{bundle.version} does not say its min-support and min-length: taking {config.min_support} and "
            f"{config.min_length} (NEXTCLICK_RETRAIN_CONFIG)"
        )
    judgement = draft.judgement = compare_neighbours(bundle, clicks, config, _announced(draft.serving))
    refreshed = recount(bundle, clicks, config)
    if judgement is None:
        say(f"too few sessions are newer than {bundle.version} to compare with it")
        check_size(bundle, refreshed, clicks.source)
    else:
        for name, value in judgement.figures.items():
            say(f"{name:10} Recall@20 {value.recall:.4f}  MRR@20 {value.mrr:.4f}")
        figures = judgement.figures["candidate"]
        metrics = refreshed.metrics | {"recall@20": figures.recall, "mrr@20": figures.mrr}
        refreshed = replace(refreshed, metrics=metrics)
    draft.refreshed = refreshed
    write_bundle(refreshed, directory)
    check_answers(read_bundle(directory), clicks)


def _is_known(bundle: Bundle, announced: int, frame: pl.DataFrame, offsets: Mapping[int, tuple[int, int]]) -> bool:
    """Whether the model has all these clicks.

    Where the offsets tell, the times do not, because a clock may be ahead. A model that was trained on this log and not
    refreshed since does not have the sessions that were held out. Of a model that was trained on something else no
    click is newer than its announcement, `announced`, ms since 1970 UTC.
    """
    counted = bundle.trained_on
    if counted is None or frame.is_empty():
        return False
    if counted.offsets:
        ends, before = ({number: end for number, (_, end) in spans.items()} for spans in (offsets, counted.offsets))
        return bundle.refresh_of is not None and ends == before
    newest: Any = frame["timestamp"].max()
    return counted.last is not None and bool(newest <= min(counted.last, announced))


def _announced(serving: ModelAnnouncement) -> int:
    """When it was announced, ms since 1970 UTC."""
    return int(serving.announced_at.timestamp() * 1000)
