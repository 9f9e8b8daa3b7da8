"""Checks the log files of a RocksDB database before it is opened: RocksDB may read damaged ones for ever.

The manifest and the write-ahead logs consist of records in blocks of 32 KiB. A record is a masked CRC-32C, a length and
a type (7 bytes), then its content; the checksum covers type and content (RocksDB's wiki, "Write Ahead Log File
Format"). RocksDB does not get past a record whose type is changed to one of a recycled log.
"""

import struct
from pathlib import Path

from aiokafka.record.util import calc_crc32c

BLOCK_BYTES = 32 << 10
HEADER = struct.Struct("<IHB")  # checksum, length, type
MASK_DELTA = 0xA282EAD8


def log_damage(database: Path) -> str | None:
    """Where a log file of a database is damaged, in one line; None if none is, or if files are missing.

    A last record that was not written to its end is no damage: RocksDB leaves it out.
    """
    try:
        manifest = database / (database / "CURRENT").read_text().strip()
        for path in (manifest, *sorted(database.glob("*.log"))):
            at = _damaged_record(path.read_bytes())
            if at is not None:
                return f"Corruption: the record of {path.name} at {at} is damaged"
    except (OSError, ValueError):
        pass  # RocksDB says what is wrong
    return None


def _damaged_record(content: bytes) -> int | None:
    at = 0
    while at < len(content):
        left = BLOCK_BYTES - at % BLOCK_BYTES
        if left < HEADER.size:
            at += left
            continue
        begin = at + HEADER.size
        if begin > len(content):
            return None
        checksum, length, kind = HEADER.unpack_from(content, at)
        end = begin + length
        if HEADER.size + length > left:
            return at
        if end > len(content) or (checksum, length, kind) == (0, 0, 0):  # not written to its end
            return None
        if checksum != _masked(calc_crc32c(content[begin - 1 : end])):
            return at
        at = end
    return None


def _masked(checksum: int) -> int:
    return ((checksum >> 15 | checksum << 17) + MASK_DELTA) & 0xFFFFFFFF
