"""Deciding by live evidence: promote or drop a shadow, or roll back to the former model if the new one does worse.

Workers score the shadow and the serving model on the same clicks, and put their counts of both on the models topic
(`schemas.evidence`). After a promotion the former model becomes the shadow. So the new model is watched in the same
way, and a rollback needs only one announcement.
"""

import asyncio
import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from modelregistry.lease import Lease
from modelregistry.models_state import ModelsState
from modelregistry.models_topic import ModelsTopic
from modelregistry.publishing import checked_announcement
from schemas.announcement import ModelAnnouncement
from schemas.decision import Decision, Difference, Figures, Judgement
from schemas.evidence import LiveEvidence
from schemas.settings import Settings

DEVIATIONS = 3.0
"""Standard errors on each side of a live difference. The difference is checked repeatedly, so 2 would err too often."""

LARGEST_SHARE = 0.2
"""Largest share of all clicks that one of the 64 groups of sessions may have; the average share is 1/64."""

Outcome = Literal["promoted", "dropped", "rolled-back", "confirmed"]


@dataclass(frozen=True)
class LiveResult:
    """The results of champion and shadow on the same clicks.

    Attributes:
        events: clicks that followed answers of both models.
        champion, shadow: the figures of each.
        difference: Recall@20 of the shadow minus the champion's, with `DEVIATIONS` standard errors on each side.
    """

    events: int
    champion: Figures
    shadow: Figures
    difference: Difference


def sum_up(evidence: Sequence[LiveEvidence]) -> LiveResult | None:
    """Add up the counts of all workers; None if there are no events.

    The standard error is that of a ratio over G groups of sessions, because the clicks of one session are not
    independent, by linearisation: r_g = d_g − D n_g, variance G/(G−1) Σ r_g² / (Σ n_g)². d_g: difference of the hits in
    group g, n_g: its events, D: difference of the Recall@20.
    """
    if not evidence:
        return None
    events, mine, its = (
        [sum(group) for group in zip(*(getattr(one, name) for one in evidence), strict=True)]
        for name in ("events", "champion_hits", "shadow_hits")
    )
    total = sum(events)
    if not total:
        return None
    value = (sum(its) - sum(mine)) / total
    groups = len(events)
    squares = sum((b - a - value * n) ** 2 for n, a, b in zip(events, mine, its, strict=True))
    reach = DEVIATIONS * math.sqrt(groups / (groups - 1) * squares) / total
    if sum(n > 0 for n in events) < groups // 2 or max(events) > total * LARGEST_SHARE:
        reach = 1.0  # few sessions, or one robot dominates: no conclusion
    return LiveResult(
        total,
        Figures(recall=sum(mine) / total, mrr=sum(one.champion_reciprocal_ranks for one in evidence) / total),
        Figures(recall=sum(its) / total, mrr=sum(one.shadow_reciprocal_ranks for one in evidence) / total),
        Difference(value=value, low=value - reach, high=value + reach),
    )


def verdict(
    role: Literal["challenger", "former"], result: LiveResult | None, age_seconds: float, settings: Settings
) -> tuple[Outcome, str] | None:
    """The outcome for a shadow, and the reason; None while it is too early to decide.

    Args:
        role: of the shadow.
        result: the live result so far; None if there is none.
        age_seconds: time since it became a shadow.
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
    """Check the live evidence once. If it is sufficient, promote, drop, roll back or confirm, and record the decision.

    Returns:
        The new decision; None if there is none.

    Raises:
        BrokerError, TopicError: the models topic cannot be read or written.
        BundleError: the model to promote is no longer at the models URI or damaged; nothing is changed.
        TrainingError: another process is deciding at this moment, or the lease was lost.
    """
    return asyncio.run(_decide(settings))


async def _decide(settings: Settings) -> Decision | None:
    async with ModelsTopic(settings) as topic:
        if _next_step(await topic.read(), settings) is None:
            return None
        async with Lease(settings, "live") as lease:
            step = _next_step(await topic.read(), settings)  # another process may have decided before we had the lease
            if step is None:
                return None
            await lease.check()
            if isinstance(step, _UnfinishedPromotion):
                await _finish_promotion(step, topic)
                return None
            return await _carry_out(step, topic, settings)


@dataclass(frozen=True)
class _Decided:
    """A decision that has not been carried out yet."""

    decision: Decision
    serving: ModelAnnouncement
    shadow: ModelAnnouncement


@dataclass(frozen=True)
class _UnfinishedPromotion:
    """The shadow's network already serves: it was promoted by hand, or the process that promoted it was killed.

    Attributes:
        former: the next shadow; None to end the shadow.
    """

    former: ModelAnnouncement | None


def _next_step(state: ModelsState, settings: Settings) -> _Decided | _UnfinishedPromotion | None:
    """The next action; None if there is no shadow, or too little evidence."""
    serving, shadow = state.serving, state.shadow
    if serving is None or shadow is None:
        return None
    role = shadow.role or "challenger"
    if shadow.network_version == serving.network_version:
        before = [one for one in state.history if one.network_version != shadow.network_version]
        promoted = shadow.role == "challenger" and before and serving.announced_at > shadow.announced_at
        return _UnfinishedPromotion(before[-1] if promoted else None)
    result = sum_up(state.evidence(serving, shadow))
    now = datetime.now(UTC)
    found = verdict(role, result, (now - shadow.announced_at).total_seconds(), settings)
    if found is None:
        return None
    outcome, reason = found
    candidate, before_it = (shadow, serving) if role == "challenger" else (serving, shadow)
    decision = Decision(
        name=settings.model_name,
        id=f"{shadow.announced_at:%Y%m%dT%H%M%S}-{outcome}-{shadow.version}"[:120],
        outcome=outcome,
        reason=reason,
        began_at=shadow.announced_at,
        decided_at=now,
        candidate=candidate.version,
        serving=before_it.version,
        trained_on=candidate.trained_on,
        judgement=_judgement(role, result, settings) if result else None,
        cpu_seconds=0,
        package=importlib.metadata.version("nextclick"),
        by="live evidence",
        withdrawn=_announced(serving.network_version, state) if outcome == "rolled-back" else {},
    )
    return _Decided(decision, serving, shadow)


def _announced(network_version: str, state: ModelsState) -> dict[str, datetime]:
    """The versions with this network → when each was announced last."""
    return {one.version: one.announced_at for one in state.history if one.network_version == network_version}


async def _carry_out(step: _Decided, topic: ModelsTopic, settings: Settings) -> Decision | None:
    """Check the bundle to serve, record the decision, and carry it out, in this order.

    The record has an idempotent key. Killed before the announcement: the next check decides the same again. Killed
    after it: `_finish_promotion` completes it.

    Returns:
        The decision, with the refreshes that were announced while the bundle was fetched; None if it was overtaken.
    """
    announcement = None
    if step.decision.outcome in {"promoted", "rolled-back"}:
        announcement = await checked_announcement(step.shadow.version, settings)
        now = _next_step(await topic.read(), settings)
        if not isinstance(now, _Decided) or (now.decision.outcome, now.shadow) != (step.decision.outcome, step.shadow):
            return None
        step = now
    await topic.record(step.decision)
    if announcement is not None:
        await topic.announce(announcement)
    if step.decision.outcome == "promoted":
        await topic.score_shadow(step.serving, "former")
    else:
        await topic.end_shadow()
    return step.decision


async def _finish_promotion(step: _UnfinishedPromotion, topic: ModelsTopic) -> None:
    if step.former is not None:
        await topic.score_shadow(step.former, "former")
    else:
        await topic.end_shadow()


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
