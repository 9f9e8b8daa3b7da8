"""Numba's compiler as this project uses it."""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])

FAST = {"reassoc", "contract", "arcp", "nsz"}
"""Sums may be reordered, so that they run in vectors; NaN and infinity stay what they are."""


def compiled(function: Function) -> Function:
    """Compile a function at its first call, without the GIL, and keep the machine code for the next process.

    It is kept beside the source, or where that cannot be written in the user's cache directory; where neither can,
    the function is compiled anew in each process.
    """
    return _compile(function, FAST)


def compiled_for_numbers(function: Function) -> Function:
    """`compiled`, for a function that need not care what becomes of NaN: a maximum runs in vectors only then."""
    return _compile(function, FAST | {"nnan"})


def compiled_into_callers(function: Function) -> Function:
    """`compiled`, for what a larger compiled function is made of: it becomes part of that one's machine code.

    Without this a process that compiles could run another copy of it than one that finds the machine code in the cache,
    with sums in another order. Numba knows only by the caller's file whether the cache is stale: after a change here
    remove the `*.nbi` files in `__pycache__` (the tests have a cache for each state of the sources).
    """
    return _compile(function, FAST, forceinline=True)


def _compile(function: Function, fastmath: set[str], forceinline: bool = False) -> Function:
    options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath, "forceinline": forceinline}
    try:
        return cast(Function, njit(cache=True, **options)(function))
    except RuntimeError:  # numba found no place for its cache
        return cast(Function, njit(**options)(function))
