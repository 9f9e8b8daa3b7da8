"""Deciding by live evidence: a shadow is promoted or dropped, a new model that does worse than the one before goes.

Workers score the shadow beside the model that serves, on the same clicks, and put what both came to on the models topic
(`schemas.evidence`). After a promotion the model that served before becomes the shadow: so a new model is watched by
the same means, and its predecessor is at hand.
"""

import asyncio
import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from pydantic import ValidationError

from modelregistry.decision_log import record
from modelregistry.lease import Lease
from modelregistry.publishing import (
    announce,
    checked_announcement,
    end_shadow,
    models_messages,
    models_of,
    score_shadow,
)
from schemas.announcement import ModelAnnouncement
from schemas.decision import Decision, Difference, Figures, Judgement
from schemas.evidence import EVIDENCE, LiveEvidence
from schemas.settings import Settings

DEVIATIONS = 3.0
"""Standard errors to either side of a live difference. It is looked at again and again: two would err too often."""

LARGEST_SHARE = 0.2
"""Of all clicks, the most that one of the groups of sessions may have; an even one has a 64th."""

Outcome = Literal["promoted", "dropped", "rolled-back", "confirmed"]


@dataclass(frozen=True)
class LiveResult:
    """What champion and shadow came to, on the same clicks.

    Attributes:
        events: clicks that followed answers of both.
        champion, shadow: their figures.
        difference: Recall@20 of the shadow less the champion's, `DEVIATIONS` standard errors to either side.
    """

    events: int
    champion: Figures
    shadow: Figures
    difference: Difference


def sum_up(evidence: Sequence[LiveEvidence]) -> LiveResult | None:
    """Add up what all workers saw.

    The standard error is that of a ratio over groups of sessions (the clicks of one session are not independent), by
    linearisation: r_g = d_g − D n_g, variance G/(G−1) Σ r_g² / (Σ n_g)².
    """
    if not evidence:
        return None
    events, mine, its = (
        np.sum([getattr(one, name) for one in evidence], axis=0, dtype=float)
        for name in ("events", "champion_hits", "shadow_hits")
    )
    total = events.sum()
    if not total:
        return None
    value = float((its - mine).sum() / total)
    groups = len(events)
    residuals = its - mine - value * events
    reach = DEVIATIONS * math.sqrt(groups / (groups - 1) * float((residuals**2).sum())) / total
    if np.count_nonzero(events) < groups // 2 or events.max() > total * LARGEST_SHARE:
        reach = 1.0  # few sessions, or a robot among them: of them alone nothing is sure
    return LiveResult(
        int(total),
        Figures(recall=mine.sum() / total, mrr=sum(one.champion_reciprocal_ranks for one in evidence) / total),
        Figures(recall=its.sum() / total, mrr=sum(one.shadow_reciprocal_ranks for one in evidence) / total),
        Difference(value=value, low=value - reach, high=value + reach),
    )


def verdict(
    role: Literal["challenger", "former"], result: LiveResult | None, age_seconds: float, settings: Settings
) -> tuple[Outcome, str] | None:
    """What becomes of a shadow, and why; None while nothing can be said yet.

    Args:
        role: of the shadow.
        result: what is known, None where nothing is.
        age_seconds: for how long it has been a shadow.
        settings: NEXTCLICK_LIVE_FEWEST, …_MOST, …_LONGEST and NEXTCLICK_RETRAIN_MARGIN.
    """
    over_time = age_seconds > settings.live_longest.total_seconds()
    if result is None or result.events < settings.live_fewest:
        if not over_time:
            return None
        seen = result.events if result else 0
        reason = f"{seen:,} clicks were answered by both within NEXTCLICK_LIVE_LONGEST, too few to decide by"
        return ("dropped" if role == "challenger" else "confirmed"), reason
    difference, margin = result.difference, settings.retrain_margin
    said = (
        f"{difference.value:+.4f} live Recall@20 ({difference.low:+.4f} to {difference.high:+.4f}) on "
        f"{result.events:,} clicks that both answered"
    )
    at_an_end = over_time or result.events >= settings.live_most
    if role == "challenger":
        if difference.low > margin:
            return "promoted", f"the shadow is better than the serving model: {said}"
        if difference.high < margin or at_an_end:
            return "dropped", f"the shadow is not surely better than the serving model by more than {margin:g}: {said}"
    else:
        if difference.low > 0:
            return "rolled-back", f"the model before is better than the one that replaced it: {said}"
        if difference.high < 0 or at_an_end:
            return "confirmed", f"the model before is not surely better than the one that replaced it: {said}"
    return None


def decide(settings: Settings) -> Decision | None:
    """Look at the live evidence once; promote, drop, roll back or confirm if it suffices, and record that.

    Raises:
        BrokerError, TopicError: there is nobody to ask.
        BundleError: the model that is to serve has vanished from the registry; nothing is changed.
        TrainingError: another process is deciding at this moment.
    """
    if asyncio.run(_pending(settings)) is None:
        return None
    with Lease(settings, "live") as lease:
        pending = asyncio.run(_pending(settings))  # once more: another one may have decided before we had the lease
        if pending is None:
            return None
        lease.check()
        asyncio.run(_carry_out(pending, settings))
        return pending.decision


@dataclass(frozen=True)
class _Pending:
    """What is to be done. No decision: the shadow serves already, and what follows a decision was not done yet."""

    history: list[ModelAnnouncement]
    shadow: ModelAnnouncement
    decision: Decision | None


async def _pending(settings: Settings) -> _Pending | None:
    messages = await models_messages(settings)
    history, shadow = models_of(messages, settings.model_name)
    if not history or shadow is None:
        return None
    serving, role = history[-1], shadow.role or "challenger"
    if shadow.version == serving.version:
        return _Pending(history, shadow, None)
    result = sum_up(_evidence(messages, serving, shadow))
    now = datetime.now(UTC)
    found = verdict(role, result, (now - shadow.announced_at).total_seconds(), settings)
    if found is None:
        return None
    outcome, reason = found
    candidate, before = (shadow, serving) if role == "challenger" else (serving, shadow)
    decision = Decision(
        name=settings.model_name,
        id=f"{shadow.announced_at:%Y%m%dT%H%M%S}-{outcome}-{shadow.version}"[:120],
        outcome=outcome,
        reason=reason,
        began_at=shadow.announced_at,
        decided_at=now,
        candidate=candidate.version,
        serving=before.version,
        trained_on=candidate.trained_on,
        judgement=_judgement(role, result, settings) if result else None,
        cpu_seconds=0,
        package=importlib.metadata.version("nextclick"),
    )
    return _Pending(history, shadow, decision)


async def _end_half_way(history: list[ModelAnnouncement], shadow: ModelAnnouncement, settings: Settings) -> None:
    """A shadow serves already: it was promoted by hand, or whoever promoted it was killed before the next step."""
    before = [announcement for announcement in history if announcement.version != shadow.version]
    if shadow.role == "challenger" and before and history[-1].announced_at > shadow.announced_at:
        await score_shadow(before[-1], "former", settings)
    else:
        await end_shadow(settings)


def _evidence(
    messages: Sequence[tuple[bytes, bytes | None]], serving: ModelAnnouncement, shadow: ModelAnnouncement
) -> list[LiveEvidence]:
    """What workers counted of these two since both are side by side."""
    prefix = f"{serving.name}{EVIDENCE}{serving.version}/{shadow.version}/".encode()
    since = max(serving.announced_at, shadow.announced_at)
    newest = {key: value for key, value in messages if key.startswith(prefix)}
    found = []
    for value in newest.values():
        try:
            evidence = None if value is None else LiveEvidence.model_validate_json(value)
        except ValidationError:
            continue
        if evidence is not None and evidence.counted_at >= since:
            found.append(evidence)
    return found


def _judgement(role: Literal["challenger", "former"], result: LiveResult, settings: Settings) -> Judgement:
    difference = result.difference
    candidate, serving = result.shadow, result.champion
    if role == "former":
        candidate, serving = serving, candidate
        difference = Difference(value=-difference.value, low=-difference.high, high=-difference.low)
    return Judgement(
        sessions=None,
        events=result.events,
        first=None,
        last=None,
        figures={"candidate": candidate, "serving": serving},
        over={"serving": difference},
        margin=settings.retrain_margin if role == "challenger" else 0.0,
    )


async def _carry_out(pending: _Pending, settings: Settings) -> None:
    """Once it is sure that it can be done, the record goes first: whoever is killed before the announcement decides the
    same again, under the same key; who is killed after it has the rest done by `_end_half_way`."""
    if pending.decision is None:
        await _end_half_way(pending.history, pending.shadow, settings)
        return
    outcome = pending.decision.outcome
    promoting = outcome in {"promoted", "rolled-back"}
    prepared = await checked_announcement(pending.shadow.version, settings) if promoting else None
    await record(pending.decision, settings)
    if prepared is not None:
        await announce(prepared, settings)
    if outcome == "promoted":
        await score_shadow(pending.history[-1], "former", settings)
    else:
        await end_shadow(settings)
