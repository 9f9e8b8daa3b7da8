"""How much is stored of a partition, as RocksDB knows it without a look at its files."""

from dataclasses import dataclass

import rocksdict

OWN_KEYS = 3
"""Keys of a store that are no session: place, changelog, and the changelog's offset."""


@dataclass(frozen=True)
class StoreFigures:
    """How much is stored.

    Attributes:
        sessions: an estimate: a state that was written anew counts twice until the two are merged.
        size: bytes of the files; what is in the write buffer is not in it.
    """

    sessions: int
    size: int


def figures_of(db: rocksdict.Rdict) -> StoreFigures | None:
    """The figures of an open database; None while it is being closed."""
    try:
        keys = db.property_int_value("rocksdb.estimate-num-keys") or 0
        size = db.property_int_value("rocksdb.live-sst-files-size") or 0
    except Exception:  # rocksdict has no class for its errors
        return None
    return StoreFigures(max(keys - OWN_KEYS, 0), size)
