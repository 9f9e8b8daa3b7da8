"""The table of session states: one RocksDB per partition, read and written in bulk."""

import shutil
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import faust
import rocksdict
from faust.stores import rocksdb
from faust.types import TP

from schemas.errors import StateError
from worker.delivery.publisher import OutgoingRecord
from worker.session_state import newer_of, stored_at

CACHE_BYTES = 64 << 20
"""Size of the block cache, shared by all partitions of the worker."""

WRITE_BUFFER_BYTES = 16 << 20
"""Size of one partition's write buffer, which RocksDB flushes to a file when full."""

ALL_WRITE_BUFFERS_BYTES = 128 << 20
"""Size of all write buffers of the worker together. Near it, RocksDB flushes buffers that are not full yet."""

COLUMN_FAMILY = "default"
"""RocksDB's name for the one column family that a store has."""


class SessionStore(rocksdb.Store):
    """Packed session states by session key, and the changelog offset up to which they are complete."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, driver="rocksdict", **kwargs)
        self._cache = rocksdict.Cache(CACHE_BYTES)
        self._write_buffers = rocksdict.WriteBufferManager(ALL_WRITE_BUFFERS_BYTES, allow_stall=False)

    def _options(self) -> rocksdict.Options:
        """The options of every partition. Index and filter blocks are in the cache, so that it bounds them too."""
        blocks = rocksdict.BlockBasedOptions()
        blocks.set_block_cache(self._cache)
        blocks.set_cache_index_and_filter_blocks(True)
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
        blocks.set_bloom_filter(10, block_based=False)
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_max_open_files(256)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_write_buffer_manager(self._write_buffers)
        options.set_compression_type(rocksdict.DBCompressionType.lz4())
        options.set_block_based_table_factory(blocks)
        return options

    def _open_for_partition(self, partition: int) -> rocksdict.Rdict:
        options = self._options()
        path = self.partition_path(partition)
        try:
            # An existing database takes the options of its column family from its own files unless they are given:
            # these have no bloom filter and a cache of 8 MB.
            return rocksdict.Rdict(str(path), options, {COLUMN_FAMILY: options})
        except Exception as error:
            if "lock" in str(error).lower():
                raise  # another worker on this disk is still closing it: Faust tries again
            raise StateError(f"cannot open the session states in {path}: {error}") from error

    def read(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """The packed states of some sessions, None for a session without one."""
        values: list[bytes | None] = self._db_for_partition(partition).get(list(keys))
        return values

    def write(self, partition: int, states: Iterable[OutgoingRecord], changelog_offset: int) -> None:
        """Write packed states, as produced to the changelog, and the offset up to which they are complete, atomically.

        Raises:
            StateError: they cannot be written to the disk.
        """
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value, _ in states:
            batch.put(key, value)
        batch.put(self.offset_key, str(changelog_offset).encode())
        self._write(partition, batch)

    def recover(self, partition: int, records: Iterable[Any], changelog_offset: int) -> None:
        """Apply changelog records. Of two states of a session, the one with the higher click offset is kept."""
        latest: dict[bytes, bytes | None] = {}
        for record in records:
            known = latest.get(record.key)
            latest[record.key] = newer_of(known, record.value) if known and record.value else record.value
        batch = rocksdict.WriteBatch(raw_mode=True)
        present = self.read(partition, list(latest))
        for (key, value), mine in zip(latest.items(), present, strict=True):
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, newer_of(mine, value) if mine else value)
        batch.put(self.offset_key, str(changelog_offset).encode())
        self._write(partition, batch)

    def partitions(self) -> list[int]:
        """The partitions whose states are open now."""
        return sorted(self._dbs)

    def expire(self, partition: int, before_ms: int, after_key: bytes, limit: int) -> tuple[int, bytes | None]:
        """Delete sessions that were last stored before a given time, among one range of keys.

        Args:
            partition: one of `partitions()`.
            before_ms: the time, ms since 1970 UTC.
            after_key: start from this key; empty for the first one.
            limit: how many keys to read.

        Returns:
            number of deleted sessions, and the key to continue from (None: all keys were read).
        """
        batch = rocksdict.WriteBatch(raw_mode=True)
        deleted = 0
        last: bytes | None = after_key
        items = islice(self._db_for_partition(partition).items(from_key=after_key or None), limit + 1)
        looked_at = 0
        for key, value in items:
            looked_at += 1
            last = key
            if key != self.offset_key and stored_at(value) < before_ms:
                batch.delete(key)
                deleted += 1
        if deleted:
            self._write(partition, batch)
        return deleted, last if looked_at > limit else None

    def forget(self, partition: int) -> None:
        """Delete all states of a partition, because their changelog no longer exists."""
        self._dbs.pop(partition, None)
        shutil.rmtree(Path(self.partition_path(partition)), ignore_errors=True)

    def _write(self, partition: int, batch: rocksdict.WriteBatch) -> None:
        try:
            self._db_for_partition(partition).write(batch)
        except Exception as error:
            raise StateError(
                f"cannot write session states to {self.partition_path(partition)}: {error}; "
                "make room on the disk or set NEXTCLICK_DATA_DIR to another one"
            ) from error


class SessionTable(faust.Table):
    """The Faust table `sessions`: Faust assigns and recovers partitions, the pipeline reads and writes in bulk."""

    data: SessionStore

    def _new_store(self) -> SessionStore:
        return SessionStore(
            "rocksdb://",
            self.app,
            self,
            table_name=self.name,
            key_type=self.key_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
            value_type=self.value_type,
            loop=self.loop,
        )

    async def on_start(self) -> None:
        """Open the store. The changelog topic is not declared here: `nextclick topics` creates it."""
        await self.add_runtime_dependency(self.data)

    def persisted_offset(self, tp: TP) -> int | None:
        """The changelog offset up to which RocksDB is complete; None if it is empty."""
        offset: int | None = self.data.persisted_offset(tp)
        return offset
