"""What the compiled functions pass to each other."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]


class Model(NamedTuple):
    """What is trained."""

    rows: Floats  # (I, 3, w): an item's weight, accumulator and velocity
    dense: Floats  # (3, D): the same of the layer, its parameters end to end: W (h, 3h), U (h, 3h), b (3h), b' (h)
    hidden: Floats  # (B, h), each lane's state


class Items(NamedTuple):
    """What is known of the items."""

    keep: NDArray[
        np.float64
    ]  # (I,), the alias table of `trainer.objective.negatives`: the probability of the first choice
    choice: NDArray[np.int32]  # (I, 2)
    target_weight: Floats  # (I,), of a column where the item is a target,
    sample_weight: Floats  # (I,), and where it is a negative sample: e^−correction for cross-entropy, else 1
    slot: NDArray[np.int32]  # (I,), the item's slot in the step; -1 between steps


class Options(NamedTuple):
    """What the training was told."""

    loss: int  # its place in `losses.NAMES`
    bpreg: np.float32
    elu: np.float32
    learning_rate: np.float32
    momentum: np.float32
    dropout_embedding: np.float32
    dropout_hidden: np.float32
    lanes: int  # B, the nominal batch size
    samples: int
    parts: int  # P, that a step's work is cut into
    negatives_key: np.uint64
    dropout_key: np.uint64


class StepPlan(NamedTuple):
    """The schedule, see `trainer.batches.session_parallel.Schedule`."""

    input: NDArray[np.int32]
    target: NDArray[np.int32]
    lane: NDArray[np.int32]
    reset: NDArray[np.bool_]
    steps: Whole


class Team(NamedTuple):
    """The threads that walk together; each does every size-th part, and the first what is not cut into parts."""

    number: int  # of this thread, from 0
    size: int
    meetings: Whole  # (1,), of this thread in this walk,
    arrived: Whole  # (1,), and of all its threads together


class Columns(NamedTuple):
    """The step's items, each once."""

    sizes: Whole  # (2,): U and V
    drawn: Whole  # (n_sample,)
    item: Whole  # (V,), the scored ones first
    weight: Floats  # (U,), sum over the item's columns
    target: Whole  # (b,), slot of each lane's target
    clicked: Whole  # (b,), slot of each lane's clicked item
    waits: NDArray[np.int32]  # (V,), number of the clicked item, whose row is updated last; -1 for the others


class Layer(NamedTuple):
    """A step's way through the layer, and what the way back needs of it."""

    x: Floats  # (b, h), input after dropout
    x_kept: Floats  # (b, h), 0 or 1 / (1 − rate)
    before: Floats  # (b, h), state before
    wx: Floats  # (b, 3h), x W; later its gradient
    uh: Floats  # (b, 3h), before U; later its gradient
    gates: Floats  # (b, 3h): r, z, h̃
    output: Floats  # (b, w): state after, a 1, zeros
    output_kept: Floats  # (b, h)
    d_x: Floats  # (b, h)
    d_dense: Floats  # (P, D), each part's sum over its lanes


class Output(NamedTuple):
    """A step's scores and their way back, in blocks of items."""

    weight: Floats  # (V·w,), the rows of the step's items
    scores: Floats  # (U·b,), block by block (b, n) each; later their gradients
    loss: NDArray[np.float64]  # (P,), summed over a part's lanes
    row: Floats  # (P, U), one lane's scores
    d_weight: Floats  # (P, n·w), a block's gradient of its rows
    d_block: Floats  # (P, b, w), a block's share of the outputs' gradients,
    d_output: Floats  # (P, b, w), and the sum over a part's blocks
    d_clicked: Floats  # (b, w), gradients of the rows that wait
