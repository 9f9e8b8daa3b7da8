"""The formats of the logs: the fields that contain session, item and time of a click."""

from dataclasses import replace
from datetime import timedelta

import polars as pl

from clicklog.importers.raw import Lines, LogFile, RawLog, iso_time, scan, whole_number
from clicklog.reading.facts import Facts
from clicklog.reading.ids import first_id_questions, id_expression
from clicklog.reading.times import TimeFormat, Times, first_time_questions, time_expression
from schemas.errors import ClicksError

SESSION_GAP = timedelta(minutes=30)


def rsc15(log: LogFile) -> RawLog:
    """RecSys Challenge 2015, yoochoose-clicks.dat: session,time,item,category without a header."""
    lines = scan(log, ("session", "time", "item", "category"), header=False, least=3)
    ids = whole_number("session"), whole_number("item")
    return RawLog(lines, lines.file.names, *ids, iso_time("time"))


def diginetica(log: LogFile) -> RawLog:
    """CIKM Cup 2016, train-item-views.csv: sessionId;userId;itemId;timeframe;eventdate.

    timeframe is in ms since the session's first query, eventdate is a day. The time of a click is their sum: its order
    and day are correct, its time of day is not.
    """
    columns = ("sessionId", "itemId", "timeframe", "eventdate")
    day = pl.col("eventdate").str.strip_chars().str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("ms"))
    time = day.dt.epoch("ms") + whole_number("timeframe")
    return RawLog(scan(log, columns, ";"), columns, whole_number("sessionId"), whole_number("itemId"), time)


def retailrocket(log: LogFile, gap: timedelta = SESSION_GAP) -> RawLog:
    """RetailRocket, events.csv: timestamp,visitorid,event,itemid,transactionid; only views, cut by silence."""
    columns = ("timestamp", "visitorid", "event", "itemid")
    lines = scan(log, columns)
    views = (pl.col("event").str.strip_chars() == "view").fill_null(False)
    lines = replace(lines, conditions={"not event=view": views, **lines.conditions})
    session, item, time = (whole_number(name) for name in ("visitorid", "itemid", "timestamp"))
    return RawLog(lines, columns, session, item, time, gap)


def delimited(
    log: LogFile,
    session: str = "session_id",
    item: str = "item_id",
    time: str | None = "timestamp",
    time_format: TimeFormat = "auto",
    separator: str = ",",
    gap: timedelta | None = None,
) -> RawLog:
    """Any delimited file with a header.

    Args:
        log: the file.
        session: column of the session id, or of the visitor id if `gap` is given.
        item: column of the item id.
        time: column of the time; None if there is none: then the lines are in click order.
        time_format: ISO 8601 in UTC, or milliseconds or seconds (fractions allowed) since 1970; auto: found out.
        separator: between fields.
        gap: a visitor's longer silence begins a new session; None does not cut.

    Raises:
        ClicksError: the file lacks a column, a gap is given without times, or the separator is not one character.
    """
    if time is None and gap is not None:
        raise ClicksError("sessions are cut by the time between clicks: name the column of the time")
    if len(separator.encode()) != 1:
        raise ClicksError(f"the separator is {separator!r}: it is one character")
    columns = list(dict.fromkeys(name for name in (session, item, time) if name is not None))
    lines = scan(log, columns, separator, typed=True)
    try:
        ids, when = _meanings(lines, (session, item), time, time_format)
    except pl.exceptions.PolarsError as error:
        raise lines.file.unreadable(error) from error
    if when is None:
        return RawLog(lines, columns, *ids, None, gap)
    return RawLog(lines, columns, *ids, when.value, gap, when.note)


def _meanings(
    lines: Lines, ids: tuple[str, str], time: str | None, how: TimeFormat
) -> tuple[tuple[pl.Expr, pl.Expr], Times | None]:
    facts, path = Facts(lines.chosen), lines.file.path
    first = [question for name in ids for question in first_id_questions(facts.rows, name)]
    first += first_time_questions(facts.rows, time) if time is not None else ()
    facts.of(*first)  # in one pass
    session, item = (id_expression(facts, name, path, delimited=True) for name in ids)
    return (session, item), None if time is None else time_expression(facts, time, path, how)
