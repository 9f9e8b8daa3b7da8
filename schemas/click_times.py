"""Times of clicks in the unit or form that NEXTCLICK_CLICK_TIME names."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.click import (
    FIRST_SECOND,
    LAST_SECOND,
    MAX_TIMESTAMP,
    FastMilliseconds,
    InvalidClickError,
    in_milliseconds,
    milliseconds_since_1970,
)

RECORD = "record"
"""The value of NEXTCLICK_CLICK_TIME for messages without a time: Kafka's time of the message counts."""

_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1}
"""Nanoseconds of each unit."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MILLISECOND = 1_000_000

_NUMBER = re.compile(r"\d+(\.\d+)?")

_PROBE = datetime(2024, 11, 23, 17, 42, 58, tzinfo=UTC)
"""Its hour is none of a 12 hour clock, and its day none of a month's number."""


@dataclass(frozen=True)
class ClickTimes:
    """How the times of clicks are written.

    Attributes:
        kind: the type of a time in JSON, for msgspec.
        read: a time as ms since 1970 UTC; raises InvalidClickError for one that it cannot read.
        write: ms since 1970 UTC as such a time.
    """

    kind: Any
    read: Callable[[Any], int]
    write: Callable[[int], int | float | str]


def click_times(text: str) -> ClickTimes:
    """How times are written, by the value of NEXTCLICK_CLICK_TIME.

    Args:
        text: empty (milliseconds, seconds or ISO 8601), a unit, `iso8601`, or a format of strptime.

    Raises:
        ValueError: it is none of these, or a format with %Z, without a day or without a time of day.
    """
    if not text:
        return ClickTimes(FastMilliseconds | datetime, _read_any, on_topic)
    if text in _UNITS:
        return _in_unit(text)
    if text == "iso8601":
        return ClickTimes(
            str, _read_as("ISO 8601", _read_iso), lambda moment: _moment(moment).isoformat(timespec="milliseconds")
        )
    if "%" not in text:
        raise ValueError(
            f"{text!r} is no unit or form of a time: give s, ms, us, ns, iso8601, record, or a format of strptime such "
            "as '%d.%m.%Y %H:%M:%S'"
        )
    _check_format(text)
    return ClickTimes(
        str,
        _read_as(text, lambda written: milliseconds_since_1970(datetime.strptime(written, text))),
        lambda moment: _moment(moment).strftime(text),
    )


def on_topic(timestamp: int) -> int | str:
    """A time in ms since 1970 UTC as a click's timestamp: in ISO 8601 where a number would be taken as seconds."""
    if FIRST_SECOND <= timestamp <= LAST_SECOND:
        return _moment(timestamp).isoformat(timespec="milliseconds")
    return timestamp


def _read_any(time: int | datetime) -> int:
    return milliseconds_since_1970(time) if isinstance(time, datetime) else in_milliseconds(time)


def _in_unit(unit: str) -> ClickTimes:
    length = _UNITS[unit]

    def read(time: float | str) -> int:
        if isinstance(time, str):
            if not _NUMBER.fullmatch(time):
                raise ValueError(time)
            time = float(time) if "." in time else int(time)
        if isinstance(time, int):
            return _in_range(time * length // _MILLISECOND)
        return _in_range(round(time * length / _MILLISECOND))

    def write(moment: int) -> int | float:
        whole, rest = divmod(moment * _MILLISECOND, length)
        return moment / 1000 if rest else whole

    return ClickTimes(int | float | str, _read_as(unit, read), write)


def _read_as(form: str, read: Callable[[Any], int]) -> Callable[[Any], int]:
    """A reader whose every error names the timestamp and the form that it should have."""

    def read_time(written: Any) -> int:
        try:
            return read(written)
        except InvalidClickError:
            raise
        except (ValueError, OverflowError):
            text = written[:64] if isinstance(written, str) else written
            raise InvalidClickError(f"timestamp {text!r} is not {form}, as NEXTCLICK_CLICK_TIME says") from None

    return read_time


def _read_iso(text: str) -> int:
    if len(text) < len("2026-03-01T12"):
        raise InvalidClickError(f"timestamp {text!r} has no time of day")
    return milliseconds_since_1970(datetime.fromisoformat(text))


def _check_format(text: str) -> None:
    if "%Z" in text.replace("%%", ""):
        raise ValueError(f"{text!r} has %Z: names of time zones are not understood; use %z, such as +0100")
    try:
        read = datetime.strptime(_PROBE.strftime(text), text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no format of strptime: {error}") from None
    if abs(read.replace(tzinfo=UTC) - _PROBE) >= timedelta(minutes=1):
        raise ValueError(f"{text!r} does not give the day and the time of day, such as '%d.%m.%Y %H:%M:%S'")


def _in_range(timestamp: int) -> int:
    if not 0 <= timestamp <= MAX_TIMESTAMP:
        raise InvalidClickError(f"timestamp {timestamp} ms lies outside 1970 to 9999")
    return timestamp


def _moment(timestamp: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=timestamp)
