"""Which messages meet conditions."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from schemas.click import DECODE_ERRORS, InvalidClickError, reason_of
from schemas.conditions import Condition
from schemas.message_fields import FieldReader


class MessageConditions:
    """Whether messages meet conditions that must all hold.

    Values are compared as text: texts by their content, numbers, `true` and `false` as the message writes them. A
    message without the field, or with an object, an array or null in it, does not meet the condition.

    Args:
        conditions: at least one, from `split_conditions`.
    """

    def __init__(self, conditions: Sequence[Condition]) -> None:
        values: dict[str, set[str]] = {}
        for condition in conditions:
            values.setdefault(condition.path, set(condition.values)).intersection_update(condition.values)
        self._read = FieldReader(dict.fromkeys(values, msgspec.Raw)).read
        self._texts = [frozenset(each) for each in values.values()]
        self._written = [frozenset(form for text in each for form in _written(text)) for each in values.values()]

    def hold(self, value: bytes | None) -> bool:
        """Whether a message meets the conditions.

        Raises:
            InvalidClickError: the message is not JSON.
        """
        if value is None:
            return False
        try:
            found = self._read(value)
            return all(map(_meets, found, self._written, self._texts))
        except msgspec.ValidationError:  # not an object
            return False
        except DECODE_ERRORS as error:
            raise InvalidClickError(reason_of(error)) from None


def _meets(raw: Any, written: frozenset[bytes], texts: frozenset[str]) -> bool:
    """Whether the value at a path, `UNSET` or a `msgspec.Raw`, is one of some."""
    return raw is not UNSET and (bytes(raw) in written or _is_text_of(bytes(raw), texts))


def _written(text: str) -> tuple[bytes, ...]:
    """How JSON writes a value that is this text."""
    try:
        bare = isinstance(msgspec.json.decode(text), int | float)
    except msgspec.DecodeError:
        bare = False
    as_text = msgspec.json.encode(text)
    return (as_text, text.encode()) if bare else (as_text,)


def _is_text_of(raw: bytes, texts: frozenset[str]) -> bool:
    """Whether a JSON value is one of some texts, in another spelling, such as with `\\u00e9` for é."""
    return b"\\" in raw and raw.startswith(b'"') and msgspec.json.decode(raw, type=str) in texts
