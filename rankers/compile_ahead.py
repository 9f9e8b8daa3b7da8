"""Compiles all that serving calls, so that no swap to another model has to: `python -m rankers.compile_ahead`.

Numba compiles a function for each combination of argument types, so a small model of every family is called once. A
file beside the machine code, the mark, says from which sources it is: numba itself looks only at the file of a
function, and not at those of the functions that were compiled into it.
"""

import fcntl
import hashlib
import os
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

import numba
import numpy as np
import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.blend.model import Blend
from rankers.bundle import Bundle
from rankers.compiled import forget_machine_code
from rankers.contract import CountedFamily, NetworkFamily
from rankers.families import FAMILIES
from rankers.scoring.topk import best_of_blocks

ITEMS = 30


def cache_directory() -> Path | None:
    """Where numba caches the machine code of this process's scorers; None: nowhere."""
    if numba.config.DISABLE_JIT:
        return None
    path = cast(Any, best_of_blocks).stats.cache_path
    return None if path is None else Path(path)


def cache_environment() -> dict[str, str]:
    """The environment variable that lets another process have the cache of this one."""
    return {"NUMBA_CACHE_DIR": numba.config.CACHE_DIR} if numba.config.CACHE_DIR else {}


def is_done() -> bool:
    """Whether all of it is in the cache, from these sources and for this CPU; or nothing is compiled at all."""
    if numba.config.DISABLE_JIT:
        return True
    kept = cache_directory()
    return kept is not None and _compiled_from(kept / _mark()) == _sources()


def compile_all() -> None:
    """Compile what is not in the cache. Of several processes one compiles, and the others wait for it.

    Raises:
        OSError: the cache cannot be written.
        RuntimeError: there is no place for it.
    """
    kept = cache_directory()
    if kept is None:
        raise RuntimeError("numba finds no writable place for its cache: set NUMBA_CACHE_DIR")
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "compiling.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_done():
            return
        marks = list(kept.glob("compiled-*"))
        if not marks or any(_compiled_from(mark) != _sources() for mark in marks):
            for mark in marks:
                mark.unlink()
            forget_machine_code("rankers")
        for bundle in _small_bundles():
            for scoring in ("exact", "int8"):
                bundle.ranker(torch.device("cpu"), scoring).warm_up(2)
        os.sync()  # a mark must not outlive its machine code in a power failure
        (kept / _mark()).write_text(_sources())


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


def _compiled_from(mark: Path) -> str | None:
    """What a mark says; None if there is none."""
    return mark.read_text() if mark.exists() else None


@cache
def _mark() -> str:
    """The name of the mark: one for each type of CPU."""
    cpu = cast(Any, best_of_blocks).targetctx.codegen().magic_tuple()
    return f"compiled-{hashlib.sha256(repr(cpu).encode()).hexdigest()[:16]}"


@cache
def _sources() -> str:
    """The digest of what the machine code is made of: the sources, and the versions of the compiler."""
    digest = hashlib.sha256(repr((platform.python_version(), numba.__version__, np.__version__)).encode())
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(1)
    compile_all()
