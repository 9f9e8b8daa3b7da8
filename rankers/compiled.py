"""Numba's compiler with this project's options."""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])

FAST = {"reassoc", "contract", "arcp", "nsz"}
"""Sums may be reordered, so that they can be vectorised; NaN and infinity keep their meaning."""


def compiled(function: Function) -> Function:
    """Compile a function at its first call, to run without the GIL; cache the machine code for the next process.

    The cache is next to the source, or in the user's cache directory if that place is not writable. If neither is
    writable, each process compiles the function again.
    """
    return _compile(function, FAST)


def compiled_for_numbers(function: Function) -> Function:
    """`compiled`, for functions whose input has no NaN: only then can a maximum be vectorised."""
    return _compile(function, FAST | {"nnan"})


def compiled_into_callers(function: Function) -> Function:
    """`compiled`, for a part of a larger compiled function: it is inlined into the caller's machine code.

    Without inlining, a process that compiles and a process that loads from the cache could run different copies of the
    function, with sums in a different order. Numba checks only the caller's file to see whether the cache is stale:
    after a change to an inlined function, remove the `*.nbi` files in `__pycache__` (the tests use one cache per state
    of the sources).
    """
    return _compile(function, FAST, forceinline=True)


def compiled_in_order(function: Function) -> Function:
    """`compiled`, with every sum in the order that is written: the same digits in every caller and on every CPU."""
    return _compile(function, set())


def _compile(function: Function, fastmath: set[str], forceinline: bool = False) -> Function:
    options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath, "forceinline": forceinline}
    try:
        return cast(Function, njit(cache=True, **options)(function))
    except RuntimeError:  # numba found no writable place for its cache
        return cast(Function, njit(**options)(function))
