"""The store of session states: its RocksDB options are in force at every open, and memory is bounded."""

import gc
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from schemas.settings import Settings
from worker.delivery.app import DeliveryApp
from worker.delivery.store import ALL_WRITE_BUFFERS_BYTES, CACHE_BYTES, SessionStore

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
