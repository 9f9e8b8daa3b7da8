"""A session's state between clicks, and its packed form in RocksDB and the changelog.

Packed: one byte of format version, then a MessagePack array of the fields in the order below. About 600 bytes for 100
hidden units, 5 items and a last top-20.

    1    one model
    2    a model and its shadow; from 0.3 on also the incarnation of the click log, which 0.1 and 0.2 skip
    3    also: dtype of the memory and digest of its network, named additions

All formats are read. Format 2 is written until NEXTCLICK_STATE_FORMAT=3 is set, so that workers of two versions can
share a group during an upgrade. A newer format stops the worker: only a newer version can continue these sessions.
"""

from typing import Any

import msgspec
from msgspec import field

from schemas.click import ItemId
from schemas.errors import NewerStateError, StateError

LAST_FORMAT = 31
"""Format versions go up to this number; a larger first byte is damage."""

FORMATS = (2, 3)
"""Formats that can be written."""


class ModelState(msgspec.Struct, array_like=True, gc=False):
    """One model's part of a session's state.

    Attributes:
        version: the model's version; None before the first model.
        memory: the model's memory of the session (`rankers.contract.Memory`) as bytes; empty while the session has no
            item that the model knows, and for families that keep no memory.
        top: the items recommended after the last click, best first; the next click is their label.
        source: where `top` came from, see `Recommendation.source`.
        dtype: dtype of the memory, float32 or float16; empty if not known, as in older formats.
        network_digest: of the model that the memory belongs to; empty if not known, as in older formats.
    """

    version: str | None
    memory: bytes
    top: list[ItemId]
    source: str
    dtype: str = ""
    network_digest: str = ""


class SessionState(msgspec.Struct, array_like=True, gc=False):
    """One session after its last applied click.

    Attributes:
        partition, offset: position of the last applied click; clicks up to this offset are answered already.
        clicked_at: timestamp of that click, ms since 1970 UTC.
        stored_at: time of the worker's clock at storing, ms since 1970 UTC; the session life counts from here.
        history: the last clicked items, oldest first; a new model rebuilds its memory from them.
        served: state of the model whose answers are published.
        shadow: state of the shadow model, if there is one.
        log: incarnation of the click log that `offset` refers to; empty if unknown.
        more: named additions; names that this version does not know are kept.
    """

    partition: int
    offset: int
    clicked_at: int
    stored_at: int
    history: list[ItemId]
    served: ModelState
    shadow: ModelState | None = None
    log: str = ""
    more: dict[str, Any] = field(default_factory=dict)


class _Format1(msgspec.Struct, array_like=True, gc=False):
    partition: int
    offset: int
    clicked_at: int
    stored_at: int
    model_version: str | None
    history: list[ItemId]
    memory: bytes
    top: list[ItemId]
    source: str


def new_session(partition: int) -> SessionState:
    """A session before its first click."""
    return SessionState(partition, -1, 0, 0, [], untouched(None))


def untouched(version: str | None) -> ModelState:
    """The state of a model that has processed no click of the session yet."""
    return ModelState(version, b"", [], "")


_encode = msgspec.msgpack.Encoder().encode
_decode_1 = msgspec.msgpack.Decoder(_Format1).decode
_decode_23 = msgspec.msgpack.Decoder(SessionState).decode
"""Reads formats 2 and 3: format 3 has the fields of format 2 in the same order, then more fields with defaults."""


def pack(state: SessionState, state_format: int = FORMATS[0]) -> bytes:
    """Pack a state in one of FORMATS."""
    if state_format == 3:
        return b"\3" + _encode(state)
    shadow = None if state.shadow is None else _fields_2(state.shadow)
    fields = (state.partition, state.offset, state.clicked_at, state.stored_at, state.history)
    if not state.log:
        return b"\2" + _encode((*fields, _fields_2(state.served), shadow))
    return b"\2" + _encode((*fields, _fields_2(state.served), shadow, state.log))  # readers skip what they do not know


def _fields_2(model: ModelState) -> tuple[str | None, bytes, list[ItemId], str]:
    return model.version, model.memory, model.top, model.source


def unpack(packed: bytes) -> SessionState:
    """Read a packed state in any known format.

    Raises:
        NewerStateError: a newer version wrote it.
        StateError: the value is empty, has an unknown format, or is damaged.
    """
    version = packed[0] if packed else 0
    if FORMATS[-1] < version <= LAST_FORMAT:
        raise NewerStateError(
            f"a session state of format {version} was written by a newer nextclick, and this one reads up to "
            f"{FORMATS[-1]}: run the newer version, which goes on with these sessions"
        )
    if not 1 <= version <= LAST_FORMAT:
        raise StateError(f"a session state of format {packed[:1].hex() or 'nothing'} has no reader in this version")
    content = memoryview(packed)[1:]
    try:
        return _from_format_1(_decode_1(content)) if version == 1 else _decode_23(content)
    except msgspec.MsgspecError as error:
        raise StateError(f"a packed session state is damaged: {error}") from error


def _from_format_1(old: _Format1) -> SessionState:
    served = ModelState(old.model_version, old.memory, old.top, old.source)
    return SessionState(old.partition, old.offset, old.clicked_at, old.stored_at, old.history, served)


def stored_at(packed: bytes) -> int:
    """When a packed state was stored, ms since 1970 UTC; 0 if it is damaged.

    Raises:
        NewerStateError: see `unpack`.
    """
    try:
        return unpack(packed).stored_at
    except NewerStateError:
        raise
    except StateError:
        return 0


def log_of(packed: bytes) -> str:
    """Incarnation of the click log that a packed state's offset counts in; empty if unknown, or if it is damaged.

    Raises:
        NewerStateError: see `unpack`.
    """
    return _position(packed)[0]


def counts_in(state: SessionState, log: str, end: int) -> bool:
    """Whether a state's offset counts in a click log; else none of the log's clicks was applied to the state yet.

    Args:
        state: as stored.
        log: incarnation of the log; empty if unknown.
        end: what the log has reached, by its end when reading began or by a click that was read. A state at or beyond
            it saw a log that was replaced or truncated.
    """
    return (not state.log or not log or state.log == log) and state.offset < end


def newer_of(first: bytes, second: bytes) -> bytes:
    """The newer one of two packed states of a session; `second` comes later in the changelog.

    It is the one with the higher click offset, or `second` if they are equal. If `second` counts in another log than
    `first`, their offsets cannot be compared, and it is `second`. A damaged state counts as older than an undamaged
    one. If it is kept, the pipeline starts the session anew.

    Raises:
        NewerStateError: see `unpack`.
    """
    (log, offset), (later_log, later_offset) = _position(first), _position(second)
    if later_log and later_log != log:
        return second
    return first if offset > later_offset else second


def _position(packed: bytes) -> tuple[str, int]:
    """Log and offset of a packed state; ("", -1) if it is damaged."""
    try:
        state = unpack(packed)
    except NewerStateError:
        raise
    except StateError:
        return "", -1
    return state.log, state.offset
