"""The formats of the logs: the fields that contain session, item and time of a click."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

import polars as pl

from clicklog.importers.raw import RawLog, iso_time, scan, whole_number
from schemas.errors import ClicksError

SESSION_GAP = timedelta(minutes=30)

TimeFormat = Literal["iso", "ms", "s"]


def rsc15(path: Path) -> RawLog:
    """RecSys Challenge 2015, yoochoose-clicks.dat: session,time,item,category without a header."""
    lines = scan(path, ("session", "time", "item", "category"), header=False, least=3)
    return RawLog(path, lines, whole_number("session"), whole_number("item"), iso_time("time"))


def diginetica(path: Path) -> RawLog:
    """CIKM Cup 2016, train-item-views.csv: sessionId;userId;itemId;timeframe;eventdate.

    timeframe is in ms since the session's first query, eventdate is a day. The time of a click is their sum: its order
    and day are correct, its time of day is not.
    """
    lines = scan(path, ("sessionId", "itemId", "timeframe", "eventdate"), ";")
    day = pl.col("eventdate").str.strip_chars().str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("ms"))
    time = day.dt.epoch("ms") + whole_number("timeframe")
    return RawLog(path, lines, whole_number("sessionId"), whole_number("itemId"), time)


def retailrocket(path: Path, gap: timedelta = SESSION_GAP) -> RawLog:
    """RetailRocket, events.csv: timestamp,visitorid,event,itemid,transactionid; only views, cut by silence."""
    lines = scan(path, ("timestamp", "visitorid", "event", "itemid"))
    views = lines.filter(pl.col("event").str.strip_chars() == "view")
    return RawLog(path, views, whole_number("visitorid"), whole_number("itemid"), whole_number("timestamp"), gap)


def delimited(
    path: Path,
    session: str = "session_id",
    item: str = "item_id",
    time: str | None = "timestamp",
    time_format: TimeFormat = "ms",
    separator: str = ",",
    gap: timedelta | None = None,
) -> RawLog:
    """Any delimited file with a header.

    Args:
        path: of the file.
        session: column of the session id, or of the visitor id if `gap` is given.
        item: column of the item id.
        time: column of the time; None if there is none: then the lines are in click order.
        time_format: ISO 8601 in UTC, or milliseconds or seconds (fractions allowed) since 1970.
        separator: between fields.
        gap: a visitor's longer silence begins a new session; None does not cut.

    Raises:
        ClicksError: the file lacks a column, a gap is given without times, or the separator is not one character.
    """
    if time is None and gap is not None:
        raise ClicksError("sessions are cut by the time between clicks: name the column of the time")
    if len(separator.encode()) != 1:
        raise ClicksError(f"the separator is {separator!r}: it is one character")
    lines = scan(path, [name for name in (session, item, time) if name is not None], separator)
    when = None
    if time is not None:
        seconds = pl.col(time).str.strip_chars().cast(pl.Float64, strict=False)
        when = {
            "iso": iso_time(time),
            "ms": whole_number(time),
            "s": (seconds * 1000).round().cast(pl.Int64, strict=False),
        }[time_format]
    ids = {name: _id(lines, name) for name in {session, item}}
    return RawLog(path, lines, ids[session], ids[item], when, gap)


def _id(lines: pl.LazyFrame, column: str) -> pl.Expr:
    """As integers if no line's text changes by it (007 and 7 are two items), else as strings."""
    text = pl.col(column).str.strip_chars()
    number = text.cast(pl.Int64, strict=False)
    same = (number.cast(pl.String) == text).fill_null(text.is_null() | (text == ""))
    try:
        lossless = bool(lines.select(same.all()).collect(engine="streaming").item())
    except pl.exceptions.PolarsError:
        lossless = False  # checking the clicks raises the error again, with its line
    return number if lossless else pl.when(text != "").then(text)
