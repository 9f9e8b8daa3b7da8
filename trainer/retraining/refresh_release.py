"""The last stage of a refresh: announce the new version, unless something else was announced meanwhile, and record how
it ended."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from modelregistry.leased_topic import LeasedTopic
from modelregistry.models_state import ModelsState
from modelregistry.publishing import stored_announcement
from schemas.announcement import ModelAnnouncement
from schemas.decision import Decision
from schemas.errors import NextclickError
from schemas.settings import Settings
from trainer.retraining.refresh_decision import RefreshDraft


def withdrawn_refreshes(state: ModelsState) -> list[str]:
    """The versions of the serving network that the rollback to the serving version withdrew: the clicks that they were
    counted on are bad. None once the serving version is announced again, by `nextclick models promote`."""
    serving = state.serving
    if serving is None:
        return []
    own = state.versions_of(serving.network_version)
    return [
        version
        for decision in state.decisions()
        if decision.outcome == "rolled-back"
        and decision.serving == serving.version
        and decision.decided_at >= serving.announced_at
        for version in decision.withdrawn
        if version in own
    ]


def release_refresh(
    directory: Path, draft: RefreshDraft, connection: LeasedTopic, settings: Settings, say: Callable[[str], None]
) -> Decision:
    """Store and announce the refreshed model, and record it.

    A model that a person, a retraining or the live evidence announced since the refresh began is not replaced, be it of
    the same network. If it was announced in the moment before the refreshed model, it is announced again.

    Raises:
        BrokerError: the announcement cannot be sent.
        BundleError: the store is not writable.
        TrainingError: the lease was lost.
    """
    overtaken = _overtaken(draft, connection)
    if overtaken is None:
        own = connection.run(stored_announcement(directory, settings))
        overtaken = _overtaken(draft, connection)  # the upload may take long
    if overtaken is None:
        connection.run(connection.topic.announce(own))
        newer = announced_between(connection.run(connection.topic.read()), draft.serving, own)
        if newer is None:
            return record("refreshed", draft.told(), draft, connection, say)
        connection.run(connection.topic.announce(newer))
        overtaken = newer.version
    reason = f"{overtaken} was announced meanwhile, and is not replaced by neighbours of the model before it"
    return record("kept", reason, draft, connection, say)


def _overtaken(draft: RefreshDraft, connection: LeasedTopic) -> str | None:
    """What was announced since the refresh began; None if nothing was. The lease must still be held."""
    connection.run(connection.lease.check())
    serving = connection.run(connection.topic.read()).serving
    if serving == draft.serving:
        return None
    return serving.version if serving else "nothing"


def announced_between(
    state: ModelsState, before: ModelAnnouncement, refreshed: ModelAnnouncement
) -> ModelAnnouncement | None:
    """The last model that was announced after `before`, if the refresh of `before` replaced it."""
    if state.serving != refreshed:
        return None
    places = [place for place, one in enumerate(state.history) if one == before]
    between = state.history[places[-1] + 1 :] if places else ()
    others = [one for one in between if one != refreshed]
    return others[-1] if others else None


def record(
    outcome: Literal["refreshed", "kept", "failed"],
    reason: str,
    draft: RefreshDraft,
    connection: LeasedTopic,
    say: Callable[[str], None],
) -> Decision:
    """Record how the refresh ended; if that fails, say so and go on."""
    try:
        decision = draft.decision(outcome, reason, connection.run(connection.topic.read()))
        connection.run(connection.topic.record(decision))
    except NextclickError as error:
        say(f"the decision could not be recorded: {error}")
        return draft.decision(outcome, reason)
    return decision
