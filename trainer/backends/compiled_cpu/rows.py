"""The table of item rows, and Adagrad with momentum on them.

    acc += g²        v = momentum · v − lr · g / sqrt(acc + 1e-6)        p += v

A row holds p, acc and v (3, w), so that the update of an item reads and writes contiguous memory.
"""

import math

import numpy as np

from rankers.compiled import compiled_into_callers
from trainer.backends.compiled_cpu.arithmetic import ONE, prefetch
from trainer.backends.compiled_cpu.layout import Floats

EPSILON = np.float32(1e-6)
LINE = 64  # bytes of a cache line
AHEAD = 6  # rows to prefetch ahead; 4 to 8 are equally fast


@compiled_into_callers
def adagrad_update(
    p: Floats, accumulator: Floats, velocity: Floats, gradient: Floats, rate: np.float32, m: np.float32
) -> None:
    """One update, in place; all arrays have one length."""
    for j in range(len(gradient)):
        g = gradient[j]
        total = accumulator[j] + g * g
        accumulator[j] = total
        v = m * velocity[j] - rate * g * (ONE / math.sqrt(total + EPSILON))
        velocity[j] = v
        p[j] += v


@compiled_into_callers
def add(more: Floats, total: Floats) -> None:
    """total += more; both have one length."""
    for place in range(len(total)):
        total[place] += more[place]


@compiled_into_callers
def ask_for_row(rows: Floats, item: int, bytes_: int) -> None:
    """Prefetch the first `bytes_` bytes of an item's row."""
    for line in range(0, bytes_, LINE):
        prefetch(rows, item, line)
