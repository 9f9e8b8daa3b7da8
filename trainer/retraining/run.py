"""One retraining, from the log to the decision: read → hold out → fit → judge → release.

A failure does not change the serving model. The decision is recorded on the models topic whenever a broker can be
reached.
"""

import time
from collections.abc import Callable

from modelregistry.leased_topic import LeasedTopic, lease_topic
from schemas.decision import Decision
from schemas.errors import NextclickError
from schemas.settings import Settings
from trainer.fit import Progress
from trainer.retraining.fitting import fit_candidate
from trainer.retraining.holdout import hold_out
from trainer.retraining.judge import judge
from trainer.retraining.outcome import Accepted, DecisionDraft, Refused
from trainer.retraining.reading import read
from trainer.retraining.release import record_failure, release


def retrain(
    settings: Settings,
    say: Callable[[str], None] = lambda _line: None,
    progress: Callable[[Progress], None] | None = None,
    now: int | None = None,
) -> Decision:
    """Read the log, train a candidate, judge it, announce it if it is good enough, and record the decision.

    Args:
        settings: of the deployment.
        say: called with a line for people.
        progress: called as in `trainer.fit`.
        now: the present time, ms since 1970 UTC; None: this machine's clock.

    Raises:
        NextclickError: the retraining failed; the failure is recorded, and the serving model is not changed.
    """
    draft = DecisionDraft(settings.model_name)
    with lease_topic(settings) as connection:
        try:
            result = _judged(connection, settings, draft, say, progress, now or time.time_ns() // 1_000_000)
            return release(result, draft, connection, settings, say)
        except NextclickError as error:
            record_failure(error, draft, connection, say)
            raise


def _judged(
    connection: LeasedTopic,
    settings: Settings,
    draft: DecisionDraft,
    say: Callable[[str], None],
    progress: Callable[[Progress], None] | None,
    now: int,
) -> Accepted | Refused:
    """The stages before the release; a stage that refuses ends them."""
    reading = read(connection, settings, draft, say, now)
    if isinstance(reading, Refused):
        return reading
    holdout = hold_out(reading.clicks, draft.serving, reading.seen, settings.retrain_holdout)
    if isinstance(holdout, Refused):
        return holdout
    candidate = fit_candidate(reading, holdout, settings, draft, say, progress)
    return judge(candidate, reading, holdout, settings, draft, say)
