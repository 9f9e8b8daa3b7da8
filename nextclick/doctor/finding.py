"""What a check of `nextclick doctor` finds."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOT_CHECKED = "not checked"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        check: its name, such as `topics`.
        level: an error stops something, or loses something; a warning costs something.
        meaning: what was found and what it leads to, one line.
        way_out: what to do, one line; empty where nothing is to be done.
    """

    check: str
    level: Level
    meaning: str
    way_out: str = ""


def counted(number: int, what: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def ok(check: str, meaning: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check, Level.OK, meaning)


def warning(check: str, meaning: str, way_out: str) -> Finding:
    """It works, at a cost."""
    return Finding(check, Level.WARNING, meaning, way_out)


def error(check: str, meaning: str, way_out: str) -> Finding:
    """Something stops or is lost."""
    return Finding(check, Level.ERROR, meaning, way_out)


def not_checked(check: str, why: str, way_out: str = "") -> Finding:
    """The check could not be made."""
    return Finding(check, Level.NOT_CHECKED, why, way_out)


def from_message(check: str, message: str) -> Finding:
    """The finding for an error of nextclick, whose message ends with what to do: `what is wrong: what to do`."""
    meaning, separator, way_out = message.rpartition(": ")
    return error(check, meaning, way_out) if separator else error(check, message, "see the message")
