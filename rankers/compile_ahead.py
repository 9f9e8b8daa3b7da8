"""Compiles all that serving calls, so that no swap to another model has to: `python -m rankers.compile_ahead`.

A small model of every family is warmed up. To know the functions is not enough: numba compiles a function for each
combination of argument types, which only a call shows.
"""

import fcntl
import hashlib
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

import llvmlite.binding
import numba
import numpy as np
import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.blend.model import Blend
from rankers.bundle import Bundle
from rankers.contract import CountedFamily, NetworkFamily
from rankers.families import FAMILIES
from rankers.scoring.topk import best_of_blocks

ITEMS = 30


def place() -> Path | None:
    """Where numba caches the machine code of this process's scorers; None: nowhere."""
    path = cast(Any, best_of_blocks).stats.cache_path
    return None if path is None else Path(path)


def is_done() -> bool:
    """Whether all of it is in the cache, from these sources and for this CPU."""
    kept = place()
    return kept is not None and (kept / _mark()).exists()


def compile_all() -> None:
    """Compile what is not in the cache. Of several processes one compiles, and the others wait for it.

    Raises:
        OSError: the cache cannot be written.
        RuntimeError: there is no place for it.
    """
    kept = place()
    if kept is None:
        raise RuntimeError("numba finds no writable place for its cache: set NUMBA_CACHE_DIR")
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "compiling.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_done():
            return
        torch.set_num_threads(1)
        for bundle in _small_bundles():
            for scoring in ("exact", "int8"):
                bundle.ranker(torch.device("cpu"), scoring).warm_up(2)
        (kept / _mark()).touch()


def _small_bundles() -> Iterator[Bundle]:
    """One of every family."""
    items = ItemIndex(list(range(ITEMS)), np.ones(ITEMS, dtype=np.int64))
    sessions = Sessions(np.arange(ITEMS), np.arange(0, ITEMS + 1, 3))
    networks, neighbours = {}, {}
    for name, family in FAMILIES.items():
        if isinstance(family, NetworkFamily):
            networks[name] = family.untrained({"items": ITEMS, "hidden": 4}).requires_grad_(False).eval()
        elif isinstance(family, CountedFamily):
            neighbours[name] = family.count({"items": ITEMS}, sessions)
    for name, model in (*networks.items(), *neighbours.items()):
        yield Bundle(name, model, items, name)
    network, method = next(iter(networks)), next(iter(neighbours))
    model = Blend(network, networks[network], items.ids, method, neighbours[method], 0.5, 1.0)
    yield Bundle("blend", model, items, "blend")


@cache
def _mark() -> str:
    """Name of the file that says that all is compiled: a digest of what machine code depends on."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    cpu = llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten()
    versions = platform.python_version(), numba.__version__, np.__version__
    digest = hashlib.sha256(repr((cpu, versions)).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return f"compiled-{digest.hexdigest()[:16]}"


if __name__ == "__main__":
    compile_all()
