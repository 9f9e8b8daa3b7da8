"""The sessions that a retraining trains on, and the sessions that its candidate is judged by."""

from dataclasses import dataclass

import polars as pl

from schemas.errors import TrainingError
from trainer.retraining.outcome import Refused

FEWEST = 20
"""Fewest sessions to judge by; with fewer the interval is meaningless."""


@dataclass(frozen=True)
class Holdout:
    """Sessions to train on, and the newest ones to judge by.

    Attributes:
        train: clicks of the older sessions.
        judged: clicks of the newest sessions, session by session.
        unseen: sessions that the serving model was not trained on.
    """

    train: pl.DataFrame
    judged: pl.DataFrame
    unseen: int


def hold_out(frame: pl.DataFrame, serving: str | None, seen: int | None, judged: int) -> Holdout | Refused:
    """`split_holdout`, refused if a model serves and too few sessions are newer than its training.

    Args:
        frame: session_id, item_id, timestamp; cut into sessions, a session's clicks in adjacent rows.
        serving: version of the serving model; None if none serves.
        seen: time of the last click that had a part in the serving model's training, ms since 1970 UTC; None if
            unknown.
        judged: number of sessions to judge by, see `split_holdout`.

    Raises:
        TrainingError: no model serves, and there are too few sessions for a first one.
    """
    holdout = split_holdout(frame, seen, judged)
    if holdout.judged.filter(pl.len().over("session_id") >= 2)["session_id"].n_unique() >= FEWEST:
        return holdout
    if serving is None:
        raise TrainingError(
            f"there is nothing to judge by: the log holds {holdout.unseen:,} sessions of two clicks or more, and a "
            f"fifth of them is to be {FEWEST} at least; collect more clicks, or train by `nextclick train --publish`"
        )
    return Refused(
        f"{holdout.unseen:,} sessions are newer than those that {serving} was trained on: too few to learn from half "
        f"and judge by the other half; {serving} serves on"
    )


def split_holdout(frame: pl.DataFrame, seen: int | None, judged: int) -> Holdout:
    """Separate the newest sessions from the others, by their first click.

    Args:
        frame: cut into sessions; a session's clicks in adjacent rows.
        seen: time of the last click that had a part in the serving model's training, ms since 1970 UTC; None if none
            serves or the time is unknown.
        judged: number of sessions of two clicks or more to judge by. It is limited to half of the sessions that the
            serving model has not seen, so that new sessions are left to train on; to a fifth of all if `seen` is None.
    """
    starts = frame.group_by("session_id").agg(pl.col("timestamp").min().alias("start"), pl.len().alias("clicks"))
    usable = starts.filter(pl.col("clicks") >= 2)
    unseen = usable if seen is None else usable.filter(pl.col("start") > seen)
    count = min(judged, len(unseen) // (5 if seen is None else 2))
    newest = unseen.sort("start", "session_id").tail(count)["session_id"] if count else unseen["session_id"].clear()
    inside = pl.col("session_id").is_in(newest.implode())
    if count:
        # Later clicks of other sessions are in neither part: the candidate must not train on them.
        begins = int(unseen.filter(pl.col("session_id").is_in(newest.implode()))["start"].min())  # type: ignore[arg-type]
        train = frame.filter(~inside & (pl.col("timestamp") < begins))
    else:
        train = frame
    return Holdout(train, frame.filter(inside), len(unseen))
