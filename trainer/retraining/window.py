"""The usable clicks of the window, cut into sessions."""

from collections.abc import Callable

import polars as pl

from clicklog.clicks import without_repetitions
from clicklog.log import empty
from clicklog.sessions import cut_by_silence
from schemas.durations import milliseconds
from schemas.errors import ClicksError, TrainingError
from schemas.settings import Settings


def usable_clicks(
    frame: pl.DataFrame, source: str, since: int, now: int, settings: Settings, say: Callable[[str], None]
) -> pl.DataFrame:
    """The clicks cut into sessions, without repetitions and without clicks of the future.

    Args:
        frame: session_id, item_id, timestamp; partition by partition, each by offset.
        source: description of where the clicks were read.
        since: begin of the window, ms since 1970 UTC.
        now: the time by this machine's clock, ms since 1970 UTC.
        settings: NEXTCLICK_CLOCK_TOLERANCE, …_RETRAIN_MAX_AGE and …_SESSION_GAP.
        say: called with a line for people.

    Returns:
        session_id, item_id, timestamp; a session's clicks in adjacent rows.

    Raises:
        ClicksError: all clicks are in the future, or the newest click is too old.
        TrainingError: there is no click.
    """
    if frame.is_empty():
        raise TrainingError(empty(source, since, None) + " (NEXTCLICK_RETRAIN_WINDOW)")
    frame, ahead = _without_the_future(frame, now, milliseconds(settings.clock_tolerance))
    if ahead:
        say(f"{ahead:,} clicks are stamped later than now (NEXTCLICK_CLOCK_TOLERANCE): left out")
    _check_newest(frame, now, milliseconds(settings.retrain_max_age), source)
    say(f"{source}: {len(frame):,} clicks")
    clicks = without_repetitions(frame.select("session_id", "item_id", "timestamp"))
    return cut_by_silence(clicks, milliseconds(settings.session_gap))


def _without_the_future(frame: pl.DataFrame, now: int, tolerance_ms: int) -> tuple[pl.DataFrame, int]:
    """The clicks that are not ahead of now by more than the tolerance, and the number of the others."""
    kept = frame.filter(pl.col("timestamp") <= now + tolerance_ms)
    if kept.is_empty() and len(frame):
        ahead = (int(frame["timestamp"].min()) - now) / 3_600_000  # type: ignore[arg-type]
        raise ClicksError(
            f"all of {len(frame):,} clicks are stamped later than this machine's clock, by {ahead:,.1f} h at least: "
            "set the clocks of this machine and of the producers of clicks (NEXTCLICK_CLOCK_TOLERANCE)"
        )
    return kept, len(frame) - len(kept)


def _check_newest(frame: pl.DataFrame, now: int, oldest_ms: int, source: str) -> None:
    age = now - int(frame["timestamp"].max())  # type: ignore[arg-type]
    if age > oldest_ms:
        raise ClicksError(
            f"the newest click of {source} is {age / 3_600_000:,.1f} h old, allowed are {oldest_ms / 3_600_000:,.1f} h "
            "(NEXTCLICK_RETRAIN_MAX_AGE): the newest clicks are missing; check the producers of clicks, and this "
            "machine's clock"
        )
