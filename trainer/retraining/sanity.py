"""The gate of a refresh: a fast check that the refreshed model works, and that it is not far below the serving one.

The network has been judged already, when it was trained; what may be wrong is the log. If enough sessions are newer
than the serving model, both models rank their clicks. That shows clicks that are missing, or whose items have other
ids, unless the newest sessions have the same fault. Without so many sessions only the numbers of clicks and items are
compared. A small loss is no reason to refuse: newer neighbours know newer items, and the next refresh is minutes away.
"""

import numpy as np
import polars as pl
import torch

from clicklog.clicks import Clicks
from clicklog.prefixes import Prefixes
from rankers.bundle import Bundle
from rankers.contract import Clicks as ModelClicks
from schemas.decision import Judgement
from schemas.recommendation import TOP
from trainer.config import TrainConfig
from trainer.retraining.holdout import FEWEST, split_holdout
from trainer.retraining.judge import Events, difference, rank_by_bundle
from trainer.retraining.recounting import recount

JUDGED = 200
"""Most sessions to judge by: about a second, for the serving model and the refreshed one together."""

TOLERANCE = 0.02
"""The refresh is refused if its Recall@20 is surely (95 %) lower than the serving model's by more than this. With a
refresh every five minutes, "surely worse at all" would refuse one in forty by chance."""

SHRUNK = 0.5
"""Without a comparison, the refresh is refused if it has a smaller share of the serving model's clicks, or of its items
that have clicks. A window that slides over a steady log changes them little."""

ANSWERED = 100
"""Most of the newest sessions that the refreshed model must answer."""


class Insane(Exception):
    """The refreshed model must not serve; the message is the reason, in one line."""


def compare_neighbours(serving: Bundle, clicks: Clicks, config: TrainConfig, announced: int) -> Judgement | None:
    """Compare the serving model with itself with new neighbours, on the newest sessions.

    Judged are sessions that are newer than all clicks of the serving model, the newer half of them. The new neighbours
    are counted without them, for this comparison only.

    Args:
        serving: the model that serves.
        clicks: of the refresh; already cut into sessions.
        config: as in `recount`.
        announced: when the serving model was announced, ms since 1970 UTC. Of its clicks none is newer, unless a
            producer's clock is ahead.

    Returns:
        the comparison; None if fewer than `FEWEST` sessions are left to judge by.

    Raises:
        Insane: it is far worse with the new neighbours.
    """
    seen = serving.trained_on.seen_until if serving.trained_on else None
    if seen is not None:
        seen = min(seen, announced)
    holdout = split_holdout(clicks.frame, seen, JUDGED)
    events = Events.of(holdout.judged)
    if events.sessions < FEWEST:
        return None
    older = recount(serving, Clicks(holdout.train, clicks.source), config)
    mine, its = rank_by_bundle(older, events), rank_by_bundle(serving, events)
    over = difference(mine, its)
    if over.high < -TOLERANCE:
        raise Insane(
            f"with new neighbours the model is surely worse than {serving.version}: {over.value:+.4f} Recall@20 (95 %: "
            f"{over.low:+.4f} to {over.high:+.4f}, allowed is {-TOLERANCE:g}) on {len(events):,} next clicks; clicks "
            f"of {clicks.source} may be missing, or their items may have other ids"
        )
    return Judgement(
        sessions=events.sessions,
        events=len(events),
        first=holdout.judged["timestamp"].min(),  # type: ignore[arg-type]
        last=holdout.judged["timestamp"].max(),  # type: ignore[arg-type]
        figures={"candidate": mine.figures, "serving": its.figures},
        over={"serving": over},
        margin=-TOLERANCE,
    )


def check_size(serving: Bundle, refreshed: Bundle, source: str) -> None:
    """Check that the refreshed model has about as many clicks and items as the serving one, where nothing else compares
    them.

    Args:
        serving: the model that serves.
        refreshed: the new version.
        source: description of where its clicks were read.

    Raises:
        Insane: it has fewer than the share `SHRUNK` of them.
    """
    for what, mine, its in (
        ("clicks", _clicks(refreshed), _clicks(serving)),
        ("items with clicks", _clicked_items(refreshed), _clicked_items(serving)),
    ):
        if mine < its * SHRUNK:
            raise Insane(
                f"only {mine:,} {what} instead of the {its:,} of {serving.version}, and too few newer sessions to "
                f"compare both: clicks of {source} may be missing; if none is, a refresh after more new sessions will "
                "compare both"
            )


def _clicks(bundle: Bundle) -> int:
    return bundle.trained_on.clicks if bundle.trained_on else 0


def _clicked_items(bundle: Bundle) -> int:
    return int(np.count_nonzero(bundle.items.support))


def check_answers(refreshed: Bundle, clicks: Clicks) -> None:
    """Check that a model, as a worker loads it, answers the newest sessions with numbers.

    Args:
        refreshed: read from its files.
        clicks: that its neighbours were counted on.

    Raises:
        Insane: it does not.
    """
    ranker = refreshed.ranker(torch.device("cpu"))
    newest = clicks.frame.group_by("session_id").agg(pl.col("timestamp").max(), pl.col("item_id"))
    sessions = newest.sort("timestamp", "session_id").tail(ANSWERED)["item_id"]
    known = [rows[rows >= 0] for rows in map(refreshed.items.rows, sessions)]
    known = [rows for rows in known if len(rows)]
    if not known:
        raise Insane(f"none of the newest {len(sessions)} sessions has an item of the refreshed model")
    offsets = np.concatenate([[0], np.cumsum([len(rows) - 1 for rows in known])]).astype(np.int64)
    before = Prefixes(np.concatenate([rows[:-1] for rows in known]), offsets)
    count = len(known)
    last = ModelClicks(
        np.array([rows[-1] for rows in known]), np.arange(count), np.zeros(count, int), np.zeros(count, bool), before
    )
    queries = ranker.advance(last, ranker.rebuild(before)).queries
    top = ranker.best(queries, min(TOP, len(refreshed.items)))
    if len(top.rows) != count or (top.rows < 0).any() or not np.isfinite(top.scores).all():
        raise Insane("the refreshed model does not answer the newest sessions with numbers")
