"""Which clicks a retraining looks at, and which of them it is judged on."""

from dataclasses import dataclass

import polars as pl

from schemas.errors import ClicksError


@dataclass(frozen=True)
class Holdout:
    """Sessions to train on and the newest ones, to judge by.

    Attributes:
        train: clicks of the sessions before.
        judged: clicks of the newest sessions, session by session.
        unseen: sessions that the serving model was not trained on.
    """

    train: pl.DataFrame
    judged: pl.DataFrame
    unseen: int


def without_the_future(frame: pl.DataFrame, now: int, tolerance_ms: int) -> tuple[pl.DataFrame, int]:
    """Leave out clicks that are stamped further ahead than the tolerance.

    Returns:
        The other clicks, and how many were left out.

    Raises:
        ClicksError: all of them are.
    """
    kept = frame.filter(pl.col("timestamp") <= now + tolerance_ms)
    if kept.is_empty() and len(frame):
        ahead = (int(frame["timestamp"].min()) - now) / 3_600_000  # type: ignore[arg-type]
        raise ClicksError(
            f"all of {len(frame):,} clicks are stamped later than this machine's clock, by {ahead:,.1f} h at least: "
            "set the clocks of this machine and of the producers of clicks (NEXTCLICK_CLOCK_TOLERANCE)"
        )
    return kept, len(frame) - len(kept)


def check_newest(frame: pl.DataFrame, now: int, oldest_ms: int, source: str) -> None:
    """Refuse a log that ends too long ago.

    Raises:
        ClicksError: says when it ends and what may be wrong.
    """
    age = now - int(frame["timestamp"].max())  # type: ignore[arg-type]
    if age > oldest_ms:
        raise ClicksError(
            f"the newest click of {source} is {age / 3_600_000:,.1f} h old, allowed are {oldest_ms / 3_600_000:,.1f} h "
            "(NEXTCLICK_RETRAIN_MAX_AGE): the newest clicks are missing; check the producers of clicks, and this "
            "machine's clock"
        )


def split_holdout(frame: pl.DataFrame, seen: int | None, judged: int) -> Holdout:
    """Part the newest sessions from the others, by their first click.

    Args:
        frame: sessions already cut; a session's clicks lie together.
        seen: the serving model was trained on clicks up to this time; None where none serves.
        judged: this many sessions of two clicks or more are judged by, or fewer: at most half of those that the
            serving model has not seen, so that there is something left to learn from; a fifth of all where none serves.
    """
    starts = frame.group_by("session_id").agg(pl.col("timestamp").min().alias("start"), pl.len().alias("clicks"))
    usable = starts.filter(pl.col("clicks") >= 2)
    unseen = usable if seen is None else usable.filter(pl.col("start") > seen)
    count = min(judged, len(unseen) // (5 if seen is None else 2))
    newest = unseen.sort("start", "session_id").tail(count)["session_id"] if count else unseen["session_id"].clear()
    inside = pl.col("session_id").is_in(newest.implode())
    if count:
        # Clicks of other sessions that came later are no part of either: the candidate must not know them.
        begins = int(unseen.filter(pl.col("session_id").is_in(newest.implode()))["start"].min())  # type: ignore[arg-type]
        train = frame.filter(~inside & (pl.col("timestamp") < begins))
    else:
        train = frame
    return Holdout(train, frame.filter(inside), len(unseen))
