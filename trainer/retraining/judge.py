"""Judging a candidate: methods rank the same next clicks, paired by session, and a rule accepts or refuses it.

For every method each click except a session's first is an event. An item that the method does not have counts as a
miss, so a model that has the newest items gains by them. Until a session has had an item of the model, the model
recommends the popular items, as the worker does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from clicklog.clicks import Clicks
from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.baselines import Baseline, make_baseline
from rankers.bundle import Bundle
from schemas.decision import Difference, Figures, Judgement
from schemas.recommendation import TOP
from schemas.settings import Settings
from trainer.counting import count
from trainer.evaluation.bootstrap import resampled_totals
from trainer.evaluation.ranks import Ranks, rank_events, rank_streamed
from trainer.presets import FAMILY_DEFAULTS
from trainer.retraining.candidate import Candidate
from trainer.retraining.holdout import Holdout
from trainer.retraining.outcome import Accepted, DecisionDraft, Refused
from trainer.retraining.reading import Reading
from trainer.retraining.recounting import recount

DRAWS = 1000


@dataclass(frozen=True)
class Ranked:
    """Ranks of the events of some sessions by one method.

    Attributes:
        rank: (E,) float64, from 1; infinity for an item that the method does not have.
        session: (E,) int64, number of the event's session.
    """

    rank: NDArray[np.float64]
    session: NDArray[np.int64]

    @property
    def figures(self) -> Figures:
        """Recall@20 and MRR@20."""
        hit = self.rank <= TOP
        return Figures(recall=float(hit.mean()), mrr=float((hit / self.rank).mean()))


@dataclass(frozen=True)
class Events:
    """The newest sessions, with their clicks concatenated.

    Attributes:
        items: the clicked items.
        session: (N,) int64, number of each click's session, from 0 and ascending.
    """

    items: pl.Series
    session: NDArray[np.int64]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "Events":
        """Events of clicks; sessions of one click have no event and are left out.

        Args:
            frame: session_id and item_id; a session's clicks in adjacent rows.
        """
        kept = frame.filter(pl.len().over("session_id") >= 2)
        return cls(kept["item_id"], (kept["session_id"].rle_id()).to_numpy().astype(np.int64))

    def __len__(self) -> int:
        return len(self.items) - (int(self.session[-1]) + 1 if len(self.session) else 0)

    @property
    def sessions(self) -> int:
        """The number of sessions."""
        return int(self.session[-1]) + 1 if len(self.session) else 0


def judge(
    candidate: Candidate,
    reading: Reading,
    holdout: Holdout,
    settings: Settings,
    draft: DecisionDraft,
    say: Callable[[str], None],
) -> Accepted | Refused:
    """Rank the held out clicks by the candidate and the other methods, and apply the rule.

    The difference is the candidate's Recall@20 minus that of another method, with a 95 % interval. The candidate is
    accepted to serve if the lower end of the difference to the serving model is above NEXTCLICK_RETRAIN_MARGIN, and the
    lower end of the difference to popularity is above 0. With NEXTCLICK_RETRAIN_RELEASE=shadow it is accepted as a
    shadow if the upper end of the difference to the serving model is above NEXTCLICK_RETRAIN_MARGIN.

    Neighbours of the serving model that were counted after its network was trained, as by a refresh, know the held out
    clicks. So they are counted on the clicks that the candidate was trained on.

    Args:
        candidate: with the sessions that the baselines are fitted to.
        reading: with the serving model.
        holdout: with the sessions to judge by.
        settings: NEXTCLICK_RETRAIN_MARGIN and …_RELEASE.
        draft: gets the judgement.
        say: called with a line for people.
    """
    compared = reading.parent
    if compared is not None and compared.trained_on is not None and compared.trained_on.network_until is not None:
        say(f"{compared.version} is judged with neighbours of the clicks that the candidate was trained on")
        compared = recount(compared, Clicks(holdout.train, reading.source), reading.config)
    judgement = _judgement(candidate, compared, holdout, settings.retrain_margin)
    draft.judgement = judgement
    for name, figures in judgement.figures.items():
        say(f"{name:10} Recall@20 {figures.recall:.4f}  MRR@20 {figures.mrr:.4f}")
    parent, version = reading.parent, candidate.bundle.version
    over = judgement.over.get("serving")
    if over is not None and settings.retrain_release == "shadow" and over.high > judgement.margin:
        against = parent.version if parent else ""
        reason = f"{version} is scored beside {against} until live evidence decides"
        return Accepted(candidate, reading.serving, "shadow", judgement, reason)
    refusal = _refusal(judgement, parent.version if parent else None)
    if refusal is not None:
        return refusal
    over = over or judgement.over["popularity"]
    reason = (
        f"{version} is better than {parent.version if parent else 'popularity'} by {over.value:+.4f} Recall@20 (95 %: "
        f"{over.low:+.4f} to {over.high:+.4f}) on {judgement.events:,} next clicks"
    )
    return Accepted(candidate, reading.serving, "serve", judgement, reason)


def _judgement(candidate: Candidate, parent: Bundle | None, holdout: Holdout, margin: float) -> Judgement:
    """The figures of all methods, and the candidate's difference to each of the others."""
    events = Events.of(holdout.judged)
    ranked = {"candidate": rank_by_bundle(candidate.bundle, events)}
    if parent is not None:
        ranked["serving"] = rank_by_bundle(parent, events)
    popularity = make_baseline("pop")
    popularity.fit(candidate.sessions, len(candidate.index))
    ranked["popularity"] = rank_by_baseline(popularity, candidate.index, events)
    neighbours, _ = count(FAMILY_DEFAULTS["vs-knn"], candidate.sessions, len(candidate.index))
    ranked["vs-knn"] = rank_by_bundle(Bundle("vs-knn", neighbours, candidate.index, "vs-knn"), events)
    own = ranked["candidate"]
    return Judgement(
        sessions=events.sessions,
        events=len(events),
        first=holdout.judged["timestamp"].min(),  # type: ignore[arg-type]
        last=holdout.judged["timestamp"].max(),  # type: ignore[arg-type]
        figures={name: method.figures for name, method in ranked.items()},
        over={name: difference(own, method) for name, method in ranked.items() if name != "candidate"},
        margin=margin,
    )


def _refusal(judgement: Judgement, serving: str | None) -> Refused | None:
    """The refusal if the candidate may not serve; None if it may."""
    checks = [("popularity", "popularity", 0.0)]
    if serving is not None:
        checks.insert(0, ("serving", serving, judgement.margin))
    for name, title, least in checks:
        over = judgement.over[name]
        if not over.low > least:
            return Refused(
                f"the candidate is not surely better than {title} by more than {least:g}: {over.value:+.4f} Recall@20 "
                f"(95 %: {over.low:+.4f} to {over.high:+.4f}) on {judgement.events:,} next clicks"
            )
    return None


def rank_by_bundle(bundle: Bundle, events: Events) -> Ranked:
    """Rank the events by a bundle's model."""
    ranker = bundle.ranker(torch.device("cpu"))
    return _rank(bundle.items, events, lambda sessions: rank_streamed(ranker, sessions))


def rank_by_baseline(baseline: Baseline, index: ItemIndex, events: Events) -> Ranked:
    """Rank the events by a baseline that was fitted to sessions of the index."""
    return _rank(index, events, lambda sessions: rank_events(baseline.scores, sessions, len(index)))


def difference(candidate: Ranked, other: Ranked, draws: int = DRAWS, seed: int = 0) -> Difference:
    """Recall@20 of the candidate minus the other's, with a 95 % interval from a bootstrap over sessions.

    Each draw has the same sessions for both methods, so the differences between easy and hard sessions cancel out.
    """
    session = candidate.session
    gain = (candidate.rank <= TOP).astype(np.float64) - (other.rank <= TOP)
    gains, events = np.bincount(session, gain), np.bincount(session)  # (S,) each
    live = events > 0
    summed = np.stack([gains[live], events[live]]).astype(np.float64)  # (2, S)
    totals = resampled_totals(summed, draws, seed)  # (draws, 2)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [0.025, 0.975])
    return Difference(value=float(gains.sum() / events.sum()), low=float(low), high=float(high))


def _rank(index: ItemIndex, events: Events, rank_sessions: Callable[[Sessions], Ranks]) -> Ranked:
    row = index.rows(events.items)  # (N,)
    session = events.session
    is_event = np.zeros(len(row), dtype=bool)
    is_event[1:] = session[1:] == session[:-1]
    known = row >= 0
    so_far = _known_before(known, session)  # (N,) earlier clicks on known items in the session
    rank = np.full(len(row), np.inf)
    by_popularity = is_event & known & (so_far == 0)
    place = np.empty(len(index))
    place[index.popular] = np.arange(1, len(index) + 1)
    rank[by_popularity] = place[row[by_popularity]]
    # The remaining events are the next clicks after a known click, in the same order.
    by_method = is_event & known & (so_far > 0)
    if by_method.any():
        length = np.bincount(session[known], minlength=events.sessions)
        long = length >= 2
        inside = known & long[session]
        offsets = np.concatenate([[0], np.cumsum(length[long])]).astype(np.int64)
        sessions = Sessions(row[inside], offsets)
        rank[by_method] = rank_sessions(sessions).rank
    return Ranked(rank[is_event], session[is_event])


def _known_before(known: NDArray[np.bool_], session: NDArray[np.int64]) -> NDArray[np.int64]:
    total = np.concatenate([[0], np.cumsum(known)])  # (N+1,)
    first = np.searchsorted(session, session)  # (N,) the session's first click
    before: NDArray[np.int64] = total[:-1] - total[first]
    return before
