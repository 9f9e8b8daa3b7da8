"""Numba's compiler as the trainer uses it."""

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
    options = {"nogil": True, "error_model": "numpy", "fastmath": FAST}
    try:
        return cast(Function, njit(cache=True, **options)(function))
    except RuntimeError:  # numba found no place for its cache
        return cast(Function, njit(**options)(function))
