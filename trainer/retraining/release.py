"""The last stage of a retraining: announce an accepted candidate and record the decision."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from modelregistry.leased_topic import LeasedTopic
from modelregistry.optimiser_state import put_optimiser_state
from modelregistry.publishing import publish
from modelregistry.store import BundleStore
from rankers.bundle import write_bundle
from schemas.decision import Decision
from schemas.errors import NextclickError, one_line
from schemas.settings import Settings
from trainer.retraining.outcome import Accepted, DecisionDraft, Refused
from trainer.retraining.resume_point import forget_resume_point, resume_directory


def release(
    result: Accepted | Refused,
    draft: DecisionDraft,
    connection: LeasedTopic,
    settings: Settings,
    say: Callable[[str], None],
) -> Decision:
    """Announce an accepted candidate, unless another model was announced in the meantime; record the decision.

    Raises:
        BrokerError: the announcement cannot be sent.
        BundleError: the store is not writable.
        TrainingError: the lease was lost.
    """
    if isinstance(result, Accepted):
        connection.run(connection.lease.check())
        result = _unless_overtaken(result, connection)
    if isinstance(result, Accepted):
        decision = _announce(result, draft, connection, settings)
    else:
        decision = draft.decision("kept", result.reason)
        _record(decision, connection, say)
    forget_resume_point(resume_directory(settings))
    return decision


def record_failure(
    error: NextclickError, draft: DecisionDraft, connection: LeasedTopic, say: Callable[[str], None]
) -> None:
    """Record that a retraining failed; its resume point stays."""
    _record(draft.decision("failed", one_line(error)), connection, say)


def _unless_overtaken(accepted: Accepted, connection: LeasedTopic) -> Accepted | Refused:
    """The candidate is refused if another network serves now than the one that it was compared with."""
    before, now = accepted.serving, connection.run(connection.topic.read()).serving
    if now is None:
        return accepted
    if before is not None and now.network_version == before.network_version:
        return replace(accepted, serving=now)
    against = before.version if before else "popularity"
    return Refused(f"{now.version} was announced meanwhile, and the candidate was compared with {against}")


def _announce(accepted: Accepted, draft: DecisionDraft, connection: LeasedTopic, settings: Settings) -> Decision:
    """Announce the candidate with the decision, which Kafka stores together.

    A replaced model becomes its shadow, so that live evidence can roll it back.
    """
    decision = draft.decision("shadowed" if accepted.release == "shadow" else "published", accepted.reason)
    _publish(accepted, decision, connection, settings)
    if accepted.release == "serve" and accepted.serving is not None:
        connection.run(connection.topic.score_shadow(accepted.serving, "former"))
    return decision


def _publish(accepted: Accepted, decision: Decision, connection: LeasedTopic, settings: Settings) -> None:
    """Store the candidate with its figures and the optimiser's state at the models URI, and announce it."""
    candidate, figures = accepted.candidate, accepted.judgement.figures["candidate"]
    metrics = candidate.bundle.metrics | {"recall@20": figures.recall, "mrr@20": figures.mrr}
    bundle = replace(candidate.bundle, metrics=metrics)
    with tempfile.TemporaryDirectory(prefix="nextclick-retrain-") as scratch:
        directory = Path(scratch) / "bundle"
        write_bundle(bundle, directory)
        put_optimiser_state(BundleStore(settings.models_uri), bundle.version, candidate.memory)
        shadow = accepted.release == "shadow"
        connection.run(publish(directory, connection.topic, settings, shadow=shadow, decision=decision))


def _record(decision: Decision, connection: LeasedTopic, say: Callable[[str], None]) -> None:
    try:
        connection.run(connection.topic.record(decision))
    except NextclickError as error:
        say(f"the decision could not be recorded: {error}")
