"""The store of session states: its RocksDB options are in force at every open, and memory is bounded."""

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from faust.types import TP

from schemas.errors import DamagedStoreError, StateError
from schemas.settings import Settings
from tests.worker.disk import flip_a_bit
from worker.delivery.app import DeliveryApp
from worker.delivery.log_files import log_damage
from worker.delivery.store import ALL_WRITE_BUFFERS_BYTES, CACHE_BYTES, SessionStore
from worker.session_state import new_session, pack

ROOT = Path(__file__).parents[2]
PARTITIONS = range(3)


def opened(directory: Path) -> SessionStore:
    """The store of a worker that starts on this disk."""
    return DeliveryApp(Settings(_env_file=None, data_dir=directory)).sessions.data


def close(store: SessionStore) -> None:
    store._dbs.clear()
    gc.collect()


def write(store: SessionStore, numbers: Iterable[int]) -> None:
    for partition in PARTITIONS:
        store.write(partition, [(b"s%d" % number, b"state %d" % number, None) for number in numbers], 7)


def said_at_the_last_open(store: SessionStore, partition: int) -> str:
    """What RocksDB says about its options in its own log file, which begins anew at every open."""
    return (Path(store.partition_path(partition)) / "LOG").read_text()


def option(log: str, name: str) -> str:
    (value,) = set(re.findall(rf"^.*?\b{re.escape(name)} ?: (.+)$", log, re.MULTILINE))
    return str(value).strip()


@pytest.mark.parametrize("restarts", [0, 1, 3])
def test_the_options_are_in_force_at_every_open(tmp_path: Path, restarts: int) -> None:
    store = opened(tmp_path)
    write(store, range(1))
    for restart in range(restarts):
        close(store)
        store = opened(tmp_path)
        write(store, range(restart, restart + 2))
    logs = [said_at_the_last_open(store, partition) for partition in PARTITIONS]
    for log in logs:
        assert option(log, "filter_policy") == "bloomfilter"
        assert option(log, "cache_index_and_filter_blocks") == "1"
        assert option(log, "capacity") == str(CACHE_BYTES)
        assert option(log, "Options.compression") == "LZ4"
        assert option(log, "Options.max_open_files") == "256"
    for shared in ("block_cache", "Options.write_buffer_manager"):
        assert len({option(log, shared) for log in logs}) == 1, "each partition has its own"
    assert store.read(1, [b"s0", b"never"]) == [b"state 0", None]
    close(store)


def test_files_written_after_a_restart_have_a_bloom_filter(tmp_path: Path) -> None:
    store = opened(tmp_path)
    write(store, range(1))
    close(store)
    store = opened(tmp_path)
    write(store, range(1000))
    store._db_for_partition(0).flush()
    close(store)
    sizes = re.findall(r'"filter_size": (\d+)', said_at_the_last_open(opened(tmp_path), 0) + _older_logs(tmp_path))
    assert sizes
    assert all(int(size) > 0 for size in sizes)


def _older_logs(directory: Path) -> str:
    return "".join(path.read_text() for path in directory.rglob("LOG.old.*"))


def test_the_write_buffers_of_all_partitions_have_one_bound(tmp_path: Path) -> None:
    store = opened(tmp_path)
    write(store, range(1000))
    buffers = store._write_buffers
    assert buffers.get_buffer_size() == ALL_WRITE_BUFFERS_BYTES
    assert buffers.get_usage() >= sum(
        store._db_for_partition(partition).property_int_value("rocksdb.cur-size-all-mem-tables") or 0
        for partition in PARTITIONS
    )
    close(store)


def test_the_memory_of_all_partitions_is_as_documented() -> None:
    assert (CACHE_BYTES, ALL_WRITE_BUFFERS_BYTES) == (64 << 20, 128 << 20)


CRASH = """
import os, pathlib, signal, sys
from types import SimpleNamespace
from tests.worker.test_session_store import opened, recovered

store = opened(pathlib.Path(sys.argv[1]))
store.recover(0, recovered(range(5000)), 4999)
if sys.argv[2] == "answers clicks":
    store.write(0, [(b"later", b"state", None)], 5000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def recovered(numbers: Iterable[int]) -> list[SimpleNamespace]:
    """Records of the changelog."""
    return [SimpleNamespace(key=b"s%d" % number, value=b"state %d" % number) for number in numbers]


@pytest.mark.parametrize("then", ["recovers on", "answers clicks"])
def test_a_worker_that_is_killed_after_a_recovery_keeps_all_states_below_its_offset(tmp_path: Path, then: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    crashed = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path), then], env=environment, check=False)
    assert crashed.returncode == -signal.SIGKILL
    store = opened(tmp_path)
    (offset,) = store.read(0, [store.offset_key])
    assert offset in ((b"5000",) if then == "answers clicks" else (None, b"4999"))
    if offset is not None:
        expected = [b"state %d" % number for number in range(5000)]
        assert store.read(0, [b"s%d" % number for number in range(5000)]) == expected
    close(store)


def stored(at: int) -> bytes:
    state = new_session(0)
    state.stored_at = at
    return pack(state)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 7, 100])
def test_a_sweep_in_parts_deletes_every_session_whose_life_is_over(tmp_path: Path, limit: int) -> None:
    store = opened(tmp_path)
    store.write(0, [(b"s%d" % number, stored(1000 + number % 2), None) for number in range(6)], 7)
    total, after, parts = 0, b"", 0
    key: bytes | None = after
    while key is not None:
        deleted, key = store.expire(0, 1001, key, limit)
        total, parts = total + deleted, parts + 1
        assert parts <= 10
    assert total == 3
    assert store.read(0, [b"s%d" % number for number in range(6)]) == [None, stored(1001)] * 3
    assert store.persisted_offset(TP("changelog", 0)) == 7
    close(store)


def test_a_sweep_reads_no_more_than_its_limit_at_a_time(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write(0, [(b"s%d" % number, stored(1), None) for number in range(5)], 7)
    left = len([key for key in store.read(0, [b"s%d" % number for number in range(5)]) if key])
    assert left == 5
    deleted, key = store.expire(0, 1001, b"", 2)
    assert deleted <= 3
    assert key is not None
    assert store.expire(0, 1001, b"", 6)[1] is None  # all keys that are left, and the changelog offset
    close(store)


def test_states_are_forgotten_whether_they_were_stored_or_not(tmp_path: Path) -> None:
    store = opened(tmp_path)
    write(store, range(1))
    store.forget(0)
    store.forget(5)  # never opened
    assert store.read(0, [b"s0"]) == [None]
    assert store.read(1, [b"s0"]) == [b"state 0"]
    close(store)


def test_a_store_whose_files_are_damaged_begins_empty_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(tmp_path)
    write(store, range(1000))
    manifest, current, missing = (Path(store.partition_path(partition)) for partition in PARTITIONS)
    close(store)
    flip_a_bit(next(manifest.glob("MANIFEST-*")))
    flip_a_bit(current / "CURRENT")
    next(missing.glob("*.sst")).unlink()
    store = opened(tmp_path)
    for partition in PARTITIONS:
        assert store.read(partition, [b"s7", store.offset_key]) == [None, None]
    assert [message.split(" (")[0] for message in caplog.messages] == [
        f"the session states in {path} were damaged and are deleted" for path in (manifest, current, missing)
    ]
    write(store, range(10))
    close(store)
    assert opened(tmp_path).read(0, [b"s7"]) == [b"state 7"]


@pytest.mark.parametrize("kind", ["MANIFEST-*", "*.log"])
def test_a_damaged_log_that_rocksdb_reads_for_ever_is_noticed_before(tmp_path: Path, kind: str) -> None:
    """With another bit, the type of the second record is one of a recycled log."""
    store = opened(tmp_path)
    for turn in range(400):
        write(store, range(turn, turn + 20))
    path = Path(store.partition_path(0))
    damaged = tmp_path / "damaged"
    shutil.copytree(path, damaged)  # as a killed worker leaves it
    close(store)
    assert log_damage(damaged) is None
    (log,) = damaged.glob(kind)
    first_length = int.from_bytes(log.read_bytes()[4:6], "little")
    flip_a_bit(log, lambda _size: 7 + first_length + 6)
    assert log_damage(damaged) == f"Corruption: the record of {log.name} at {7 + first_length} is damaged"
    shutil.rmtree(path)
    shutil.copytree(damaged, path)
    assert opened(tmp_path).read(0, [b"s7"]) == [None]


def test_a_damaged_table_is_noticed_when_it_is_read_and_gone_at_the_next_start(tmp_path: Path) -> None:
    store = opened(tmp_path)
    write(store, range(1000))
    table = Path(store.partition_path(1))
    close(store)
    flip_a_bit(next(table.glob("*.sst")), lambda size: size // 4)
    store = opened(tmp_path)
    sessions = [b"s%d" % number for number in range(1000)]
    with pytest.raises(DamagedStoreError, match="checksum mismatch"):
        store.read(1, sessions)
    with pytest.raises(StateError):  # nothing is written to a new store, which would lack the other sessions
        store.read(1, sessions)
    close(store)
    assert opened(tmp_path).read(1, sessions) == [None] * 1000


def test_a_store_that_was_copied_from_another_partition_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(tmp_path)
    write(store, range(10))
    first, second, _ = (Path(store.partition_path(partition)) for partition in PARTITIONS)
    close(store)
    shutil.rmtree(second)
    shutil.copytree(first, second)
    store = opened(tmp_path)
    assert store.read(0, [b"s7"]) == [b"state 7"]
    assert not caplog.messages
    assert store.read(1, [b"s7", store.offset_key]) == [None, None]
    assert "are a copy of 'nextclick-sessions-changelog 0'" in caplog.messages[0]


def test_only_a_lock_of_this_worker_is_waited_for(tmp_path: Path) -> None:
    store = opened(tmp_path / "clock")
    path = Path(store.partition_path(0))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("not a folder")
    with pytest.raises(StateError, match="NEXTCLICK_DATA_DIR"):
        store.read(0, [b"s7"])
    write(opened(tmp_path), range(1))
    with pytest.raises(Exception, match="lock") as locked:
        opened(tmp_path).read(0, [b"s7"])
    assert not isinstance(locked.value, StateError)


def test_states_behind_a_damaged_block_are_not_taken_for_the_end(tmp_path: Path) -> None:
    store = opened(tmp_path)
    write(store, range(5000))
    table = Path(store.partition_path(0))
    close(store)
    flip_a_bit(next(table.glob("*.sst")), lambda size: size // 4)
    store = opened(tmp_path)
    with pytest.raises(DamagedStoreError, match="were damaged and are deleted"):
        store.states(0, b"", 10_000)
