"""The arrays that a step computes in, and the number of parts that its work is cut into."""

import numpy as np

from trainer.backends.compiled_cpu.layout import Columns, Floats, Layer, Output
from trainer.backends.compiled_cpu.output import MOST

PARTS = 4
"""The most parts of a step, and so the most threads."""

LANES = 16
"""The fewest lanes of a part; with fewer, its matrix products are slow."""


def workspace(lanes: int, samples: int, hidden: int, width: int) -> tuple[Columns, Layer, Output]:
    """Allocate the arrays of a step: B lanes, n_sample samples, h hidden units, rows of w numbers."""
    slots = 2 * lanes + samples
    parts = parts_of(lanes)
    layer_size = 6 * hidden * hidden + 4 * hidden
    columns = Columns(
        sizes=np.zeros(2, np.int64),
        drawn=np.zeros(samples, np.int64),
        item=np.zeros(slots, np.int64),
        weight=_floats(slots),
        target=np.zeros(lanes, np.int64),
        clicked=np.zeros(lanes, np.int64),
        waits=np.zeros(slots, np.int32),
    )
    layer = Layer(
        x=_floats(lanes, hidden),
        x_kept=_floats(lanes, hidden),
        before=_floats(lanes, hidden),
        wx=_floats(lanes, 3 * hidden),
        uh=_floats(lanes, 3 * hidden),
        gates=_floats(lanes, 3 * hidden),
        output=_floats(lanes, width),
        output_kept=_floats(lanes, hidden),
        d_x=_floats(lanes, hidden),
        d_dense=_floats(parts, layer_size),
    )
    out = Output(
        weight=_floats(slots * width),
        scores=_floats(slots * lanes),
        loss=np.zeros(parts),
        row=_floats(parts, slots),
        d_weight=_floats(parts, MOST * width),
        d_block=_floats(parts, lanes, width),
        d_output=_floats(parts, lanes, width),
        d_clicked=_floats(lanes, width),
    )
    return columns, layer, out


def parts_of(lanes: int) -> int:
    """P, the number of parts, for B lanes."""
    return max(1, min(PARTS, lanes // LANES))


def _floats(*shape: int) -> Floats:
    return np.zeros(shape, np.float32)
