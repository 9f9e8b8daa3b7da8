"""Which messages meet conditions."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from schemas.click import DECODE_ERRORS, InvalidClickError, reason_of
from schemas.conditions import Condition
from schemas.message_fields import FieldReader

_OTHER = (b"n", b"{", b"[")
"""How JSON values begin that are compared with nothing: null, objects and arrays."""


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
        self._values = [(frozenset(map(str.encode, each)), frozenset(each)) for each in values.values()]

    def hold(self, value: bytes | None) -> bool:
        """Whether a message meets the conditions.

        Raises:
            InvalidClickError: the message is not JSON.
        """
        if value is None:
            return False
        try:
            found = self._read(value)
        except msgspec.ValidationError:  # not an object
            return False
        except DECODE_ERRORS as error:
            raise InvalidClickError(reason_of(error)) from None
        for raw, (written, texts) in zip(found, self._values, strict=True):
            if raw is UNSET or not _is_one_of(bytes(raw), written, texts):
                return False
        return True


def _is_one_of(raw: bytes, written: frozenset[bytes], texts: frozenset[str]) -> bool:
    """Whether a JSON value is one of some texts, given as UTF-8 and as texts."""
    if raw[:1] != b'"':
        return raw in written and raw[:1] not in _OTHER
    return raw[1:-1] in written if b"\\" not in raw else msgspec.json.decode(raw, type=str) in texts
