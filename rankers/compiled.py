"""Numba's compiler with this project's options."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])

FAST = {"reassoc", "contract", "arcp", "nsz"}
"""Sums may be reordered, so that they can be vectorised; NaN and infinity keep their meaning."""

_dispatchers: list[Any] = []
_uncached: list[Any] = []


def compiled(function: Function) -> Function:
    """Compile a function at its first call, to run without the GIL; cache the machine code for the next process.

    The cache is next to the source, or in the user's cache directory if that place is not writable, or in
    NUMBA_CACHE_DIR. If none is writable, each process compiles the function again, unless `cache_below` names
    another place.
    """
    return _compile(function, FAST)


def compiled_for_numbers(function: Function) -> Function:
    """`compiled`, for functions whose input has no NaN: only then can a maximum be vectorised."""
    return _compile(function, FAST | {"nnan"})


def compiled_into_callers(function: Function) -> Function:
    """`compiled`, for a part of a larger compiled function: it is inlined into the caller's machine code.

    Without inlining, a process that compiles and a process that loads from the cache could run different copies of the
    function, with sums in a different order. Numba checks only the caller's file to see whether the cache is stale:
    `rankers.compile_ahead` compiles anew after any change; for a changed training kernel, remove the `*.nbi` files in
    `__pycache__` (the tests use one cache per state of the sources).
    """
    return _compile(function, FAST, forceinline=True)


def compiled_in_order(function: Function) -> Function:
    """`compiled`, with every sum in the order that is written: the same digits in every caller and on every CPU."""
    return _compile(function, set())


def cache_below(directory: Path) -> None:
    """Cache machine code below a writable directory, of the functions that had no place for it until now.

    Raises:
        RuntimeError: the directory cannot be written either.
    """
    numba.config.CACHE_DIR = str(directory.absolute())
    while _uncached:
        _uncached[-1].enable_caching()
        _uncached.pop()


def forget_machine_code(package: str) -> None:
    """Remove from the cache what the functions of a package were compiled to, so that they are compiled anew.

    Raises:
        OSError: a file cannot be removed.
    """
    for dispatcher in _dispatchers:
        if dispatcher.__module__.startswith(f"{package}.") and dispatcher.stats.cache_path is not None:
            for index in Path(dispatcher.stats.cache_path).glob("*.nbi"):
                index.unlink(missing_ok=True)


def _compile(function: Function, fastmath: set[str], forceinline: bool = False) -> Function:
    options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath, "forceinline": forceinline}
    dispatcher = njit(**options)(function)
    if numba.config.DISABLE_JIT:  # for debuggers: the function itself
        return cast(Function, dispatcher)
    _dispatchers.append(dispatcher)
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # numba found no writable place for its cache
        _uncached.append(dispatcher)
    return cast(Function, dispatcher)
