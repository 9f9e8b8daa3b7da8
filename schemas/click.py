"""The schema of a click, and the decoder of the hot path.

`Click` (pydantic) is the schema for readers and for other programs. The worker calls `decode_click` (msgspec) for every
message: it has the same rules at well under half the cost (`benchmarks/decode.py`), and a test checks that both accept
and reject the same messages.
"""

from datetime import UTC, datetime
from typing import Annotated, Protocol

import msgspec
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, NaiveDatetime, StrictInt, StrictStr

ItemId = int | str
"""An item or session id: a whole number of 64 bits, or a text of 1 to 256 characters. `5` and `"5"` are the same id.

Programs send either form. Ids are compared in the form of `canonical_id`.
"""

MAX_ID_LENGTH = 256
MAX_TIMESTAMP = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_MOST_DIGITS = len(str(2**63))


def canonical_id(identity: ItemId) -> ItemId:
    """The form in which ids are compared: a text that is written like a number of 64 bits becomes that number.

    Only the exact text of the number does: `"007"`, `"+5"`, `"-0"`, `" 5"`, digits of other alphabets and numbers that
    need more than 64 bits stay texts, and name other items.
    """
    if not isinstance(identity, str):
        return identity
    digits = identity.removeprefix("-")
    if not digits.isdecimal() or not digits.isascii() or len(digits) > _MOST_DIGITS:
        return identity
    number = int(identity)
    return number if -(2**63) <= number < 2**63 and str(number) == identity else identity


FIRST_SECOND, LAST_SECOND = 1_000_000_000, 9_999_999_999
"""A number between these is in seconds, of the years 2001 to 2286: as milliseconds it would be of January to April
1970, and no click is."""


def in_milliseconds(number: int) -> int:
    """A number of milliseconds or seconds since 1970 as milliseconds."""
    return number * 1000 if FIRST_SECOND <= number <= LAST_SECOND else number


def _encodable(text: str) -> str:
    text.encode()  # a lone surrogate has no UTF-8 form; UnicodeEncodeError is a ValueError
    return text


_TextId = Annotated[StrictStr, Field(min_length=1, max_length=MAX_ID_LENGTH), AfterValidator(_encodable)]
_NumberId = Annotated[StrictInt, Field(ge=-(2**63), le=2**63 - 1)]
_Milliseconds = Annotated[StrictInt, Field(ge=0, le=MAX_TIMESTAMP), AfterValidator(in_milliseconds)]


class Click(BaseModel):
    """One click of a session on an item, as JSON on the clicks topic. Unknown fields are allowed and ignored.

    The message's key is the session id as text. The timestamp is in milliseconds since 1970 UTC, or ISO 8601 (UTC
    if it has no offset). A number of the years 2001 to 2286 in seconds is taken as seconds.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    session_id: _NumberId | _TextId
    item_id: _NumberId | _TextId
    timestamp: _Milliseconds | AwareDatetime | NaiveDatetime


FastId = int | Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
"""An id for msgspec; what it cannot check of numbers, `check_id` does."""

FastMilliseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIMESTAMP)]


class DecodedClick(msgspec.Struct, gc=False):
    """A valid click.

    Attributes:
        session_id, item_id: as the message has them.
        timestamp: ms since 1970 UTC.
        session_key: the session id as text: one for each session, whatever form the message's key has.
        event: the kind of the click, where NEXTCLICK_CLICK_FIELDS says which field has it.
    """

    session_id: ItemId
    item_id: ItemId
    timestamp: int
    session_key: bytes
    event: str | int | None = None


class _WireClick(msgspec.Struct, gc=False):
    session_id: FastId
    item_id: FastId
    timestamp: FastMilliseconds | datetime


_decode = msgspec.json.Decoder(_WireClick).decode


class InvalidClickError(ValueError):
    """A message is not a valid click; `str(error)` is the reason that goes to the rejected topic."""


DECODE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
"""What decoding a message may raise."""

NO_VALUE = "the message has no value (a tombstone is no click)"
NO_KEY = "the message has no key: the key must be the session id"

NO_RECORD_TIME = -1
"""Kafka's time of a message that has none: one that a client of before 2016 wrote."""


class DecodeClick(Protocol):
    """Decodes and validates messages of the clicks topic: `decode_click`, or one that `click_decoder` made."""

    def __call__(
        self,
        key: bytes | None,
        value: bytes | None,
        latest: int = MAX_TIMESTAMP,
        record_time: int = NO_RECORD_TIME,
        /,
    ) -> DecodedClick | None:
        """The click; None if NEXTCLICK_CLICK_WHERE says that the message is none.

        Args:
            key: the message's key.
            value: the message's value.
            latest: clicks with a later timestamp are rejected, ms since 1970 UTC.
            record_time: Kafka's time of the message, ms since 1970 UTC.

        Raises:
            InvalidClickError: with the reason, which names the field if one is at fault.
        """


def decode_click(
    key: bytes | None, value: bytes | None, latest: int = MAX_TIMESTAMP, _record_time: int = NO_RECORD_TIME
) -> DecodedClick:
    """Decode and validate one message of a clicks topic in nextclick's own form, whatever the settings say.

    Args:
        key: the message's key: the session id as text, or another form that `names_session` understands.
        value: the message's value.
        latest: clicks with a later timestamp are rejected, ms since 1970 UTC.

    Raises:
        InvalidClickError: with the reason, which names the field if one is at fault.
    """
    if value is None:
        raise InvalidClickError(NO_VALUE)
    if key is None:
        raise InvalidClickError(NO_KEY)
    try:
        click = _decode(value)
        timestamp = click.timestamp
        if isinstance(timestamp, datetime):
            timestamp = milliseconds_since_1970(timestamp)
        else:
            timestamp = in_milliseconds(timestamp)
        session_key = str(click.session_id).encode()
    except DECODE_ERRORS as error:
        raise InvalidClickError(reason_of(error)) from None
    return checked_click(key, DecodedClick(click.session_id, click.item_id, timestamp, session_key), latest)


def checked_click(key: bytes, click: DecodedClick, latest: int) -> DecodedClick:
    """A decoded click, after the checks that its schema cannot express.

    Args:
        key: the message's key.
        click: decoded.
        latest: as for `DecodeClick`.

    Raises:
        InvalidClickError: it is too late, its ids cannot be stored, or the key is not its session id.
    """
    if click.timestamp > latest:
        raise InvalidClickError(
            f"timestamp {click.timestamp} is further ahead of the clock than NEXTCLICK_CLOCK_TOLERANCE"
        )
    if click.session_key != key and not names_session(key, click.session_id):
        raise InvalidClickError(f"the message's key {_short(key)} is not the session id {_short(click.session_key)}")
    check_id("session_id", click.session_id)
    check_id("item_id", click.item_id)
    return click


def check_id(name: str, identity: ItemId) -> None:
    """Check an id.

    Raises:
        InvalidClickError: it is a number of more than 64 bits, or a text without a UTF-8 form.
    """
    if isinstance(identity, int):
        if not -(2**63) <= identity < 2**63:
            raise InvalidClickError(f"{name} {identity} does not fit in 64 bits")
    elif not identity.isascii():
        _check_encodable(name, identity)


def names_session(key: bytes, session_id: ItemId) -> bool:
    """Whether a message's key is another form of a session id than its text.

    Understood are a JSON string (`"abc"`, with its quotes), and Java's long and int: 8 or 4 bytes, the highest first.
    """
    if key.startswith(b'"'):
        try:
            return msgspec.json.decode(key, type=str) == str(session_id)
        except DECODE_ERRORS:  # UnicodeDecodeError too, which is none of msgspec's
            return False
    number = canonical_id(session_id)
    return isinstance(number, int) and len(key) in (4, 8) and int.from_bytes(key, "big", signed=True) == number


def milliseconds_since_1970(moment: datetime) -> int:
    """A time as ms since 1970 UTC; one without a zone is in UTC.

    Raises:
        InvalidClickError: it is before 1970 or after 9999.
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    milliseconds = round(moment.timestamp() * 1000)
    if not 0 <= milliseconds <= MAX_TIMESTAMP:
        raise InvalidClickError(f"timestamp {moment.isoformat()} lies outside 1970 to 9999")
    return milliseconds


def _check_encodable(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidClickError(f"{name} has a lone surrogate: it has no UTF-8 form") from None


def reason_of(error: Exception) -> str:
    """Why a message cannot be decoded, for one of `DECODE_ERRORS`."""
    if isinstance(error, RecursionError):
        return "not valid JSON: nested too deeply"
    if isinstance(error, msgspec.ValidationError | InvalidClickError):
        return str(error)
    if isinstance(error, msgspec.DecodeError):
        return f"not valid JSON: {error}"
    return f"not valid UTF-8: {error}" if isinstance(error, UnicodeError) else str(error)


def _short(text: bytes) -> str:
    return repr(text[:64].decode(errors="replace")) + ("…" if len(text) > 64 else "")
