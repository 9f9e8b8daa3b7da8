"""The training sessions by item, and the items of each: the arrays that a neighbourhood model searches.

Sizes in the shape comments: N clicks of S sessions on I items, M pairs of a session and an item in it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from clicklog.sessions import Sessions
from schemas.errors import BundleError

FILE = "sessions.safetensors"

_ARRAYS = {
    "items": "1-d int32",
    "of_item": "1-d int64",
    "of_session": "1-d int64",
    "positions": "1-d int16",
    "sessions": "1-d int32",
}


class SessionIndex(NamedTuple):
    """An inverted index, and the sessions that it points to. A higher session number is a newer session.

    Attributes:
        sessions: (L,) int32, for each item the newest sessions that have it, newest first.
        of_item: (I+1,) int64; the sessions of item i are `sessions[of_item[i]:of_item[i+1]]`.
        items: (M,) int32, the distinct items of each session, ascending.
        positions: (M,) int16, position of the session's last click on each, from 0; 32767 also for later ones.
        of_session: (S+1,) int64; the items of session s are `items[of_session[s]:of_session[s+1]]`.
    """

    sessions: NDArray[np.int32]
    of_item: NDArray[np.int64]
    items: NDArray[np.int32]
    positions: NDArray[np.int16]
    of_session: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self)

    @property
    def support(self) -> NDArray[np.int64]:
        """(I,), the number of sessions that have each item, those that `sessions` leaves out among them."""
        return np.bincount(self.items, minlength=len(self.of_item) - 1)


def index_sessions(sessions: Sessions, items: int, newest: int) -> SessionIndex:
    """Build the index.

    Args:
        sessions: in the order of their first click.
        items: I, the number of items.
        newest: the number of sessions kept for each item.
    """
    lengths = np.diff(sessions.offsets)  # (S,)
    key = np.repeat(np.arange(len(sessions)) * items, lengths) + sessions.items  # (N,) by session, then item
    order = np.argsort(key, kind="stable")
    key = key[order]
    last = np.append(np.diff(key) != 0, True)  # (N,) whether it is the session's last click on the item
    key, order = key[last], order[last]  # (M,)
    session, item = np.divmod(key, items)
    position = order - sessions.offsets[session]
    support = np.bincount(item, minlength=items)  # (I,)
    by_item = len(item) - 1 - np.argsort(item[::-1], kind="stable")  # (M,) by item, the newest session first
    nth = np.arange(len(item)) - np.repeat(np.cumsum(support) - support, support)
    return SessionIndex(
        sessions=session[by_item[nth < newest]].astype(np.int32),
        of_item=_offsets(np.minimum(support, newest)),
        items=item.astype(np.int32),
        positions=np.minimum(position, np.iinfo(np.int16).max).astype(np.int16),
        of_session=_offsets(np.bincount(session, minlength=len(sessions))),
    )


def largest_bytes(sessions: Sessions, items: int) -> int:
    """Bytes that the index of these sessions has at most: every click is on another item of its session."""
    return (4 + 4 + 2) * len(sessions.items) + 8 * (len(sessions) + items + 2)


def save_index(index: SessionIndex) -> dict[str, bytes]:
    """File name → content: one file with the arrays."""
    return {FILE: save(index._asdict())}


def load_index(files: Mapping[str, bytes], items: int) -> SessionIndex:
    """The index from the files of `save_index`.

    Raises:
        BundleError: an array is missing or of another type, or points outside of another one.
    """
    arrays = load(files[FILE])
    found = {name: f"{array.ndim}-d {array.dtype}" for name, array in sorted(arrays.items())}
    if found != _ARRAYS:
        raise BundleError(f"{FILE} has the arrays {found}, an index has {_ARRAYS}")
    index = SessionIndex(**arrays)
    if len(index.of_item) != items + 1:
        raise BundleError(f"an index of {len(index.of_item) - 1} items with {items} different ids")
    sound = (
        _are_offsets(index.of_item, len(index.sessions))
        and _are_offsets(index.of_session, len(index.items))
        and len(index.positions) == len(index.items)
        and _are_below(index.sessions, len(index.of_session) - 1)
        and _are_below(index.items, items)
        and bool((np.diff(index.of_session) > 0).all())
    )
    if not sound:
        raise BundleError(f"{FILE} points outside of its arrays")
    return index


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _are_offsets(offsets: NDArray[np.int64], end: int) -> bool:
    return len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == end and bool((np.diff(offsets) >= 0).all())


def _are_below(numbers: NDArray[np.int32], end: int) -> bool:
    return not len(numbers) or bool(numbers.min() >= 0 and numbers.max() < end)
