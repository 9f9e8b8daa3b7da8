"""A session's state: what is kept of it between clicks, and its packed form in RocksDB and the changelog.

Packed: one byte of format version, then a MessagePack array of the fields in their order below. About 600 bytes for 100
hidden units, 5 items and a last top-20.

    1    one model
    2    a model and its shadow
    3    also: the incarnation of the click log, dtype and digest that the memory belongs to, named additions

All are read. Format 2 is written until NEXTCLICK_STATE_FORMAT=3 is set, so that workers of two versions can share a
group while it is upgraded. A format that is newer than these stops the worker: another one has to go on with it.
"""

from typing import Any

import msgspec
from msgspec import field

from schemas.click import ItemId
from schemas.errors import NewerStateError, StateError

FORMATS = (2, 3)
"""Those that can be written."""


class ModelState(msgspec.Struct, array_like=True, gc=False):
    """What one model makes of a session.

    Attributes:
        version: the model's; None before the first one.
        memory: what it remembers (`rankers.contract.Memory`), as bytes; empty while it knows none of the session's
            items, and for families that keep none.
        top: the items it recommended after the last click, best first: the next click is their label.
        source: where `top` came from, see `Recommendation.source`.
        dtype: of the memory, float32 or float16; empty where an older format did not say.
        network: digest of the model that the memory belongs to; empty where an older format did not say.
    """

    version: str | None
    memory: bytes
    top: list[ItemId]
    source: str
    dtype: str = ""
    network: str = ""


class SessionState(msgspec.Struct, array_like=True, gc=False):
    """One session after its last applied click.

    Attributes:
        partition, offset: of the last click applied; a click at or below that offset has been answered already.
        clicked_at: time stamp of that click, ms since 1970 UTC.
        stored_at: the worker's clock when it was stored, ms since 1970 UTC: a session's life counts from here.
        history: the last items clicked, oldest first: what a new model is fed to rebuild its memory.
        served: of the model whose answers are published.
        shadow: of the model that is scored beside it, where there is one.
        log: incarnation of the click log that `offset` counts in; empty where it is not known.
        more: named additions; those that this version does not know are kept.
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


class _Model2(msgspec.Struct, array_like=True, gc=False):
    version: str | None
    memory: bytes
    top: list[ItemId]
    source: str


class _Format2(msgspec.Struct, array_like=True, gc=False):
    partition: int
    offset: int
    clicked_at: int
    stored_at: int
    history: list[ItemId]
    served: _Model2
    shadow: _Model2 | None = None


def new_session(partition: int) -> SessionState:
    """A session before its first click."""
    return SessionState(partition, -1, 0, 0, [], untouched(None))


def untouched(version: str | None) -> ModelState:
    """What a model makes of a session that it has not seen anything of."""
    return ModelState(version, b"", [], "")


_encode = msgspec.msgpack.Encoder().encode
_decode_1 = msgspec.msgpack.Decoder(_Format1).decode
_decode_23 = msgspec.msgpack.Decoder(SessionState).decode
"""Format 3 has the fields of format 2 in their order, and more behind them that have defaults."""


def pack(state: SessionState, state_format: int = FORMATS[0]) -> bytes:
    """The packed form, in one of FORMATS."""
    if state_format == 3:
        return b"\3" + _encode(state)
    shadow = None if state.shadow is None else _model_2(state.shadow)
    return b"\2" + _encode(
        _Format2(
            state.partition,
            state.offset,
            state.clicked_at,
            state.stored_at,
            state.history,
            _model_2(state.served),
            shadow,
        )
    )


def _model_2(model: ModelState) -> _Model2:
    return _Model2(model.version, model.memory, model.top, model.source)


def unpack(packed: bytes) -> SessionState:
    """Read a packed state of any format version that has a reader.

    Raises:
        NewerStateError: it was written by a newer version.
        StateError: the value is empty, of an unknown format version, or cut short.
    """
    version = packed[0] if packed else 0
    if version > FORMATS[-1]:
        raise NewerStateError(
            f"a session state of format {version} was written by a newer nextclick, and this one reads up to "
            f"{FORMATS[-1]}: run the newer version, which goes on with these sessions"
        )
    if version < 1:
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
    """When a packed state was stored, ms since 1970 UTC; 0 where it is damaged.

    Raises:
        NewerStateError: as `unpack`.
    """
    try:
        return unpack(packed).stored_at
    except NewerStateError:
        raise
    except StateError:
        return 0


def newer_of(first: bytes, second: bytes) -> bytes:
    """Of two packed states of one session the one with the higher click offset; `second` where they are equal.

    One that is damaged counts as older than any that is not: the pipeline begins its session anew.

    Raises:
        NewerStateError: as `unpack`.
    """
    return first if _offset(first) > _offset(second) else second


def _offset(packed: bytes) -> int:
    try:
        return unpack(packed).offset
    except NewerStateError:
        raise
    except StateError:
        return -1
