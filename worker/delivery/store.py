"""The table of session states: one RocksDB per partition, read and written in bulk."""

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from time import monotonic
from typing import Any

import faust
import rocksdict
from faust.stores import rocksdb
from faust.types import TP

from schemas.errors import DamagedStoreError, NextclickError, StateError, one_line
from worker.delivery.log_files import log_damage
from worker.delivery.publisher import OutgoingRecord
from worker.delivery.store_figures import StoreFigures, figures_of
from worker.session_state import log_of, newer_of, stored_at

log = logging.getLogger(__name__)

CACHE_BYTES = 64 << 20
"""Size of the block cache, shared by all partitions of the worker."""

WRITE_BUFFER_BYTES = 16 << 20
"""Size of one partition's write buffer, which RocksDB flushes to a file when full."""

ALL_WRITE_BUFFERS_BYTES = 128 << 20
"""Size of all write buffers of the worker together. Near it, RocksDB flushes buffers that are not full yet."""

COLUMN_FAMILY = "default"
"""RocksDB's name for the one column family that a store has."""

CHANGELOG_KEY = b"__nextclick\0changelog__"
"""Under this key a store has the id of the changelog topic that its states are in."""

INCOMPLETE = "?"
"""Instead of an id: not all of the states are in the changelog."""

LOCKED = ("lock hold by current process", "While lock file")
"""RocksDB's errors for a database that is open already."""

DAMAGED = ("Corruption:", "No such file or directory")
"""RocksDB's errors for files whose content is wrong, or that are missing."""

SLOW_SECONDS = 5.0
"""A read or write that took longer is told: the worker answers nothing meanwhile."""

UNLOGGED = rocksdict.WriteOptions()
"""For writes that RocksDB need not write twice."""

UNLOGGED.disable_wal = True

PLACE_KEY = b"__nextclick\0place__"
"""Under this key a store has the changelog topic and the partition that its states are of."""


class SessionStore(rocksdb.Store):
    """Packed session states by session key, and the changelog and its offset up to which they are complete."""

    def __init__(self, *args: Any, changelog_topic: str, **kwargs: Any) -> None:
        super().__init__(*args, driver="rocksdict", **kwargs)
        self._changelog_topic = changelog_topic
        self._cache = rocksdict.Cache(CACHE_BYTES)
        self._write_buffers = rocksdict.WriteBufferManager(ALL_WRITE_BUFFERS_BYTES, allow_stall=False)
        self._unlogged: set[int] = set()
        """Partitions with writes that are not in RocksDB's own log, and perhaps not in its files."""

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
        """Open the states of a partition. Damaged or copied ones are deleted: a recovery follows every assignment."""
        place = f"{self._changelog_topic} {partition}".encode()
        try:
            db = self._open(partition)
        except DamagedStoreError as error:
            log.warning("%s", str(error))  # the error itself holds the database open, as long as the record lives
            db = self._open(partition)
        with self._disk_errors(partition, "open"):
            noted = db.get(PLACE_KEY)
            if noted not in (None, place):
                log.warning(
                    "the session states in %s are a copy of %r: they are deleted and recovered from the changelog",
                    self.partition_path(partition), noted.decode(errors="replace"),
                )  # fmt: skip
                db.close()
                self._delete(partition)
                db = self._open(partition)
            if noted != place:
                db.put(PLACE_KEY, place)
        return db

    def _open(self, partition: int) -> rocksdict.Rdict:
        options, path = self._options(), self.partition_path(partition)
        with self._disk_errors(partition, "open"):
            if (damage := log_damage(path)) is not None:
                raise OSError(damage)
            # An existing database takes the options of its column family from its own files unless they are given:
            # these have no bloom filter and a cache of 8 MB.
            return rocksdict.Rdict(str(path), options, {COLUMN_FAMILY: options})

    def read(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """The packed states of some sessions, None for a session without one.

        Raises:
            StateError: they cannot be read from the disk.
        """
        with self._disk_errors(partition, "read"):
            values: list[bytes | None] = self._db_for_partition(partition).get(list(keys))
        return values

    def write(self, partition: int, states: Sequence[OutgoingRecord], changelog_offset: int) -> bool:
        """Write packed states, as produced to the changelog, and the offset up to which they are complete, atomically.

        Returns:
            whether the changelog goes on. If it is at an offset that it was at before, it is another one, or was
            truncated, and does not have the other states of the partition.

        Raises:
            StateError: they cannot be written to the disk.
        """
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value, _ in states:
            batch.put(key, value)
        (before,) = self.read(partition, [self.offset_key])
        goes_on = before is None or int(before) <= changelog_offset - len(states)
        if not goes_on:
            batch.put(CHANGELOG_KEY, INCOMPLETE.encode())
        batch.put(self.offset_key, str(changelog_offset).encode())
        self._write(partition, batch)
        return goes_on

    def recover(self, partition: int, records: Iterable[Any], changelog_offset: int) -> None:
        """Apply changelog records. Of two states of a session, the one with the higher click offset is kept.

        RocksDB does not log them: what a crash loses here is in the changelog, and the offset is lost too. Before any
        other write to the partition they are put into RocksDB's files.

        Raises:
            DamagedStoreError: the stored states are damaged; recover from the beginning.
            StateError: the disk cannot be read or written.
        """
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
        with self._disk_errors(partition, "write"):
            self._unlogged.add(partition)
            self._db_for_partition(partition).write(batch, UNLOGGED)

    def changelog_id(self, partition: int) -> str | None:
        """Id of the changelog topic that the states are in; INCOMPLETE: not all of them; None: unknown."""
        (found,) = self.read(partition, [CHANGELOG_KEY])
        return None if found is None else bytes(found).decode()

    def set_changelog_id(self, partition: int, topic_id: str) -> None:
        """Note which changelog topic the states are in; empty if the broker knows no topic ids.

        Raises:
            StateError: it cannot be written to the disk.
        """
        batch = rocksdict.WriteBatch(raw_mode=True)
        batch.put(CHANGELOG_KEY, topic_id.encode())
        self._write(partition, batch)

    def begin_anew(self, partition: int) -> None:
        """Note that the changelog has lost the states, so that none of its offsets counts any more.

        Raises:
            StateError: it cannot be written to the disk.
        """
        batch = rocksdict.WriteBatch(raw_mode=True)
        batch.put(CHANGELOG_KEY, INCOMPLETE.encode())
        batch.put(self.offset_key, b"-1")
        self._write(partition, batch)

    def _sessions(self, partition: int, from_key: bytes = b"") -> Iterator[tuple[bytes, bytes, None]]:
        """Session keys and packed states in order. `Rdict.items` would end without an error where the disk has one."""
        notes = (self.offset_key, CHANGELOG_KEY, PLACE_KEY)
        with self._disk_errors(partition, "read"):
            rows = self._db_for_partition(partition).iter()
            rows.seek(from_key)
            while rows.valid():
                key = rows.key()
                if key not in notes:
                    yield key, rows.value(), None
                rows.next()
            rows.status()

    def states(
        self, partition: int, from_key: bytes, limit: int
    ) -> tuple[list[tuple[bytes, bytes, None]], bytes | None]:
        """Packed states of one range of session keys, as they are produced to the changelog.

        Args:
            partition: of this worker.
            from_key: start from this key; empty for the first one.
            limit: how many states to read.

        Returns:
            the states, and the key to continue from (None: all were read).

        Raises:
            StateError: they cannot be read from the disk.
        """
        found = list(islice(self._sessions(partition, from_key), limit + 1))
        return found[:limit], found[limit][0] if len(found) > limit else None

    def drop_unnamed(self, partition: int) -> int:
        """Delete the states that do not name the click log that they count in; returns how many."""
        unnamed = [key for key, packed, _ in self._sessions(partition) if not log_of(packed)]
        self._delete_sessions(partition, unnamed)
        return len(unnamed)

    def partitions(self) -> list[int]:
        """The partitions whose states are open now."""
        return sorted(self._dbs)

    def figures(self, partition: int) -> StoreFigures | None:
        """How much is stored of a partition; None if it is not open."""
        db = self._dbs.get(partition)
        return None if db is None else figures_of(db)

    def expire(self, partition: int, before_ms: int, from_key: bytes, limit: int) -> tuple[int, bytes | None]:
        """Delete sessions that were last stored before a given time, among one range of keys.

        Args:
            partition: one of `partitions()`.
            before_ms: the time, ms since 1970 UTC.
            from_key: start from this key; empty for the first one.
            limit: how many states to read.

        Returns:
            number of deleted sessions, and the key to continue from (None: all were read).

        Raises:
            StateError: they cannot be read from the disk, or not written to it.
        """
        states, next_key = self.states(partition, from_key, limit)
        expired = [key for key, packed, _ in states if stored_at(packed) < before_ms]
        self._delete_sessions(partition, expired)
        return len(expired), next_key

    def _delete_sessions(self, partition: int, keys: Sequence[bytes]) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key in keys:
            batch.delete(key)
        if keys:
            self._write(partition, batch)

    def forget(self, partition: int) -> None:
        """Delete all states of a partition, because they are of another consumer group, or damaged."""
        db = self._dbs.pop(partition, None)
        if db is not None:
            with suppress(Exception):  # a damaged database may not close in order
                db.close()
        self._delete(partition)

    def _delete(self, partition: int) -> None:
        path = self.partition_path(partition)
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StateError(
                f"the session states in {path} are of no use and cannot be deleted ({error.strerror}): delete them, or "
                "set NEXTCLICK_DATA_DIR to another directory"
            ) from error

    def _write(self, partition: int, batch: rocksdict.WriteBatch) -> None:
        with self._disk_errors(partition, "write"):
            db = self._db_for_partition(partition)
            if partition in self._unlogged:
                db.flush()
                self._unlogged.remove(partition)
            db.write(batch)

    @contextmanager
    def _disk_errors(self, partition: int, what: str) -> Iterator[None]:
        """Make one line of an error of RocksDB. Damaged files are deleted, so that the next recovery is complete."""
        path = self.partition_path(partition)
        begin = monotonic()
        try:
            yield
            if (took := monotonic() - begin) > SLOW_SECONDS:
                log.warning("the disk of %s was slow: to %s session states took %.0f s", path, what, took)
        except NextclickError:
            raise
        except Exception as error:
            text = one_line(error)
            if any(each in text for each in LOCKED):
                raise  # the worker that had it before is still closing it: Faust tries again
            if any(each in text for each in DAMAGED):
                # An open database stays open on the deleted files, so that nothing is written to a new, empty one.
                self._delete(partition)
                raise DamagedStoreError(
                    f"the session states in {path} were damaged and are deleted ({text}): a worker that starts here "
                    "recovers them from the changelog",
                    partition,
                ) from error
            raise StateError(
                f"cannot {what} session states in {path}: {text}; make room on the disk, repair it, or set "
                "NEXTCLICK_DATA_DIR to another one: states that are missing there are recovered from the changelog"
            ) from error


class SessionTable(faust.Table):
    """The Faust table `sessions`: Faust assigns and recovers partitions, the pipeline reads and writes in bulk."""

    data: SessionStore

    def _new_store(self) -> SessionStore:
        return SessionStore(
            "rocksdb://",
            self.app,
            self,
            changelog_topic=self.app.settings.changelog_topic,
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
        """The changelog offset up to which RocksDB is complete; None if it is empty.

        Raises:
            StateError: it cannot be read from the disk.
        """
        (offset,) = self.data.read(tp.partition, [self.data.offset_key])
        return None if offset is None else int(offset)
