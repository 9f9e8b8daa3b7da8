"""Decoding messages of a clicks topic whose form is not ours, as the settings NEXTCLICK_CLICK_… say.

Everything that reads the clicks topic decodes by `click_decoder(settings)`: worker, training, archive and replay.
"""

from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from schemas.click import (
    DECODE_ERRORS,
    MAX_TIMESTAMP,
    NO_KEY,
    NO_RECORD_TIME,
    NO_VALUE,
    DecodeClick,
    DecodedClick,
    FastId,
    InvalidClickError,
    check_id,
    checked_click,
    decode_click,
    reason_of,
)
from schemas.click_fields import read_click_fields
from schemas.click_times import RECORD, click_times
from schemas.conditions import split_conditions
from schemas.message_conditions import MessageConditions
from schemas.message_fields import FieldReader
from schemas.settings import Settings


def click_decoder(settings: Settings) -> DecodeClick:
    """The decoder for messages of the clicks topic: `decode_click` where the settings say nothing else."""
    mapped = settings.click_fields or settings.click_time
    decode: DecodeClick = _MappedClicks(settings).decode if mapped else decode_click
    if not settings.click_where:
        return decode
    is_click = MessageConditions(split_conditions(settings.click_where)).hold

    def decode_those_that_are_clicks(
        key: bytes | None, value: bytes | None, latest: int = MAX_TIMESTAMP, record_time: int = NO_RECORD_TIME
    ) -> DecodedClick | None:
        return decode(key, value, latest, record_time) if is_click(value) else None

    return decode_those_that_are_clicks


def session_reader(settings: Settings) -> Callable[[bytes | None], bytes | None]:
    """What reads only the session of a message, whatever its key.

    Returns:
        a function from a message's value to its session key (`DecodedClick.session_key`), or None if
        NEXTCLICK_CLICK_WHERE says that the message is no click. It raises InvalidClickError with the reason if the
        message has no session id.
    """
    path = read_click_fields(settings.click_fields)["session_id"]
    read = FieldReader({path: FastId}).read
    is_click = MessageConditions(split_conditions(settings.click_where)).hold if settings.click_where else None

    def session_key(value: bytes | None) -> bytes | None:
        if is_click is not None and not is_click(value):
            return None
        if value is None:
            raise InvalidClickError(NO_VALUE)
        try:
            (session_id,) = read(value)
            if session_id is UNSET:
                raise InvalidClickError(_missing("session_id", path))
            check_id("session_id", session_id)
            return str(session_id).encode()
        except DECODE_ERRORS as error:
            raise InvalidClickError(reason_of(error)) from None

    return session_key


class _MappedClicks:
    def __init__(self, settings: Settings) -> None:
        self._fields = read_click_fields(settings.click_fields)
        kinds: dict[str, Any] = {"session_id": FastId, "item_id": FastId, "event": Any}
        self._by_record = settings.click_time == RECORD
        if self._by_record:
            del self._fields["timestamp"]
        else:
            times = click_times(settings.click_time)
            kinds["timestamp"], self._time = times.kind, times.read
        self._has_event = "event" in self._fields
        self._read = FieldReader({path: kinds[name] for name, path in self._fields.items()}).read

    def decode(
        self,
        key: bytes | None,
        value: bytes | None,
        latest: int = MAX_TIMESTAMP,
        record_time: int = NO_RECORD_TIME,
    ) -> DecodedClick:
        """As `DecodeClick`."""
        if value is None:
            raise InvalidClickError(NO_VALUE)
        if key is None:
            raise InvalidClickError(NO_KEY)
        try:
            found = self._read(value)
            if UNSET in found:
                found = self._without_event(found)
            session_id, item_id = found[:2]
            timestamp = record_time if self._by_record else self._time(found[2])
            session_key = str(session_id).encode()
        except DECODE_ERRORS as error:
            raise InvalidClickError(self._reason(error)) from None
        if timestamp < 0:
            raise InvalidClickError("the message has no record time, which NEXTCLICK_CLICK_TIME=record needs")
        event = _kind(found[-1]) if self._has_event else None
        return checked_click(key, DecodedClick(session_id, item_id, timestamp, session_key, event), latest)

    def _reason(self, error: Exception) -> str:
        """The reason, which also names what is at the path that it ends with."""
        reason = reason_of(error)
        found = (f", which is its {name}" for name, path in self._fields.items() if reason.endswith(f"`$.{path}`"))
        return reason + next(found, "")

    def _without_event(self, found: tuple[Any, ...]) -> tuple[Any, ...]:
        """The values of a message that lacks some; raises InvalidClickError unless it only lacks the event."""
        for value, (name, path) in zip(found, self._fields.items(), strict=True):
            if value is UNSET and name != "event":
                raise InvalidClickError(_missing(name, path))
        return (*found[:-1], None)


def _kind(event: Any) -> str | int | None:
    """The kind of a click; None where the message has something else than a text or a whole number there."""
    return event if isinstance(event, str | int) and not isinstance(event, bool) else None


def _missing(name: str, path: str) -> str:
    return f"the message has no {path}, which is its {name}"
