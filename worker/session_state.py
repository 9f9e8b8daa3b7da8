"""A session's state: what is kept of it between clicks, and its packed form in RocksDB and the changelog.

Packed: one byte of format version, then a MessagePack array of the fields in their order below. About 600 bytes for 100
hidden units, 5 items and a last top-20.
"""

from collections.abc import Callable

import msgspec

from schemas.click import ItemId
from schemas.errors import StateError

FORMAT = 2


class ModelState(msgspec.Struct, array_like=True, gc=False):
    """What one model makes of a session.

    Attributes:
        version: the model's; None before the first one.
        hidden: (L, h) float32 or float16 as bytes; empty while the model knows none of the session's items.
        top: the items it recommended after the last click, best first: the next click is their label.
        source: where `top` came from, see `Recommendation.source`.
    """

    version: str | None
    hidden: bytes
    top: list[ItemId]
    source: str


class SessionState(msgspec.Struct, array_like=True, gc=False):
    """One session after its last applied click.

    Attributes:
        partition, offset: of the last click applied; a click at or below that offset has been answered already.
        clicked_at: time stamp of that click, ms since 1970 UTC.
        stored_at: the worker's clock when it was stored, ms since 1970 UTC: a session's life counts from here.
        history: the last items clicked, oldest first: what a new model is fed to rebuild its hidden state.
        served: of the model whose answers are published.
        shadow: of the model that is scored beside it, where there is one.
    """

    partition: int
    offset: int
    clicked_at: int
    stored_at: int
    history: list[ItemId]
    served: ModelState
    shadow: ModelState | None = None


class _Format1(msgspec.Struct, array_like=True, gc=False):
    """Before there were shadow models."""

    partition: int
    offset: int
    clicked_at: int
    stored_at: int
    model_version: str | None
    history: list[ItemId]
    hidden: bytes
    top: list[ItemId]
    source: str


def new_session(partition: int) -> SessionState:
    """A session before its first click."""
    return SessionState(partition, -1, 0, 0, [], untouched(None))


def untouched(version: str | None) -> ModelState:
    """What a model makes of a session that it has not seen anything of."""
    return ModelState(version, b"", [], "")


_PREFIX = bytes([FORMAT])
_encode = msgspec.msgpack.Encoder().encode
_decode_format_1 = msgspec.msgpack.Decoder(_Format1).decode


def _read_format_1(packed: memoryview) -> SessionState:
    old = _decode_format_1(packed)
    served = ModelState(old.model_version, old.hidden, old.top, old.source)
    return SessionState(old.partition, old.offset, old.clicked_at, old.stored_at, old.history, served)


_readers: dict[int, Callable[[memoryview], SessionState]] = {
    1: _read_format_1,
    FORMAT: msgspec.msgpack.Decoder(SessionState).decode,
}


def pack(state: SessionState) -> bytes:
    """The packed form."""
    return _PREFIX + _encode(state)


def unpack(packed: bytes) -> SessionState:
    """Read a packed state of any format version that has a reader.

    Raises:
        StateError: the value is empty, of an unknown format version, or cut short.
    """
    reader = _readers.get(packed[0]) if packed else None
    if reader is None:
        raise StateError(f"a session state of format {packed[:1].hex() or 'nothing'} has no reader in this version")
    try:
        return reader(memoryview(packed)[1:])
    except msgspec.MsgspecError as error:
        raise StateError(f"a packed session state is damaged: {error}") from error


def stored_at(packed: bytes) -> int:
    """When a packed state was stored, ms since 1970 UTC; 0 where it cannot be read."""
    try:
        return unpack(packed).stored_at
    except StateError:
        return 0


def newer_of(first: bytes, second: bytes) -> bytes:
    """Of two packed states of one session the one with the higher click offset; `second` where they are equal.

    One that cannot be read counts as older than any that can: the pipeline begins its session anew.
    """
    return first if _offset(first) > _offset(second) else second


def _offset(packed: bytes) -> int:
    try:
        return unpack(packed).offset
    except StateError:
        return -1
