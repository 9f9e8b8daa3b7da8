"""The arrays and options that the compiled functions pass to each other."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]


class Model(NamedTuple):
    """The weights and the optimiser's state, and the hidden states."""

    rows: Floats  # (I, 3, w): each item's weight, accumulator and velocity
    dense: Floats  # (3, D): the same of the layer's parameters, concatenated: W (h, 3h), U (h, 3h), b (3h), b' (h)
    hidden: Floats  # (B, h), each lane's hidden state


class Items(NamedTuple):
    """The items' sampling table and weights, and their slots in the step."""

    keep: NDArray[np.float64]  # (I,), alias table of `trainer.objective.negatives`: probability of the first choice
    choice: NDArray[np.int32]  # (I, 2), the slot's own item and its alias
    target_weight: Floats  # (I,), weight of a column with the item as target: e^−correction for cross-entropy, else 1
    sample_weight: Floats  # (I,), weight of a column with the item as negative sample, likewise
    slot: NDArray[np.int32]  # (I,), the item's slot in the step; -1 between steps


class Options(NamedTuple):
    """The options of the training, and the keys of its random streams."""

    loss: int  # its index in `losses.NAMES`
    top_negatives: int
    bpreg: np.float32
    elu: np.float32
    learning_rate: np.float32
    momentum: np.float32
    dropout_embedding: np.float32
    dropout_hidden: np.float32
    lanes: int  # B, the nominal batch size
    samples: int
    parts: int  # P, number of parts that a step's work is cut into
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
    """One of the threads that train together.

    Each thread does every size-th part. Thread 0 also does the work that is not cut into parts.
    """

    number: int  # of this thread, from 0
    size: int  # number of threads
    meetings: Whole  # (1,), barriers that this thread has reached in this call of `walk`
    arrived: Whole  # (1,), the sum of that over all threads, which share this counter


class Columns(NamedTuple):
    """The unique items of a step."""

    sizes: Whole  # (2,): U and V
    drawn: Whole  # (n_sample,)
    item: Whole  # (V,), the scored ones first
    weight: Floats  # (U,), sum of the weights of the item's columns
    target: Whole  # (b,), slot of each lane's target
    clicked: Whole  # (b,), slot of each lane's clicked item
    waits: NDArray[np.int32]  # (V,), index in `Output.d_clicked` of a clicked item, whose row is updated last; else -1


class Layer(NamedTuple):
    """The layer's values in the forward pass that the backward pass needs, and its gradients."""

    x: Floats  # (b, h), input after dropout
    x_kept: Floats  # (b, h), dropout mask of the input: 0 or 1 / (1 − rate)
    before: Floats  # (b, h), hidden state before the step
    wx: Floats  # (b, 3h), x W; later its gradient
    uh: Floats  # (b, 3h), before · U; later its gradient
    gates: Floats  # (b, 3h): r, z, h̃
    output: Floats  # (b, w): hidden state after the step and dropout, a 1, zeros
    output_kept: Floats  # (b, h), dropout mask of the output
    d_x: Floats  # (b, h)
    d_dense: Floats  # (P, D), each part's sum over its lanes


class Output(NamedTuple):
    """A step's scores and gradients, in blocks of items."""

    weight: Floats  # (V·w,), the rows of the step's items
    scores: Floats  # (U·b,), block by block (b, n) each; later their gradients
    loss: NDArray[np.float64]  # (P,), summed over a part's lanes
    row: Floats  # (P, U), one lane's scores
    d_weight: Floats  # (P, n·w), gradient of a block's rows
    d_block: Floats  # (P, b, w), a block's contribution to the gradient of the outputs
    d_output: Floats  # (P, b, w), sum of the contributions of a part's blocks
    d_clicked: Floats  # (b, w), gradients of the clicked items' rows
