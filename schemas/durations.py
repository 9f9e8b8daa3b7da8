"""Durations as people write them: `50ms`, `30m`, `1.5h`, `7d`."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def parse_duration(value: Any) -> timedelta:
    """Read `30m`, `50ms`, `1.5h`, `7d` or a timedelta.

    Raises:
        ValueError: the text is not a number followed by ms, s, m, h or d, or is not positive.
    """
    if isinstance(value, timedelta):
        duration = value
    else:
        match = _PATTERN.fullmatch(str(value).strip())
        if match is None:
            raise ValueError(f"{value!r} is not a duration: write a number and a unit, like 50ms, 30s, 30m, 2h or 7d")
        duration = timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    if not timedelta(milliseconds=1) <= duration <= timedelta(days=36500):
        raise ValueError(f"{value!r} is out of range: a duration here is at least 1ms and at most 36500d")
    return duration


def duration_text(duration: timedelta) -> str:
    """A duration as `parse_duration` reads it, in the largest unit that gives a whole number: `30m`."""
    microseconds = duration // timedelta(microseconds=1)
    for unit, seconds in reversed(_UNITS.items()):
        whole, rest = divmod(microseconds, round(seconds * 1_000_000))
        if whole and not rest:
            return f"{whole}{unit}"
    return f"{microseconds // 1000}.{microseconds % 1000:03d}ms"


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


def milliseconds(duration: timedelta) -> int:
    """Whole milliseconds of a duration."""
    return round(duration.total_seconds() * 1000)
