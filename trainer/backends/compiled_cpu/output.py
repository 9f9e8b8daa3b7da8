"""Scores of the step's items, and back-propagation from them to the rows, in blocks of items that stay in the cache.

    S = O Wᵀ  (b, n)        dO = Σ over blocks G W  (b, w)        dW = Gᵀ O  (n, w)

with G the gradient of the loss by S. The biases are included: they are element h of W's rows, and every output has a 1
there.
"""

import numpy as np

from rankers.compiled import compiled_into_callers
from trainer.backends.compiled_cpu.arithmetic import ONE
from trainer.backends.compiled_cpu.layout import Columns, Floats, Layer, Model, Options, Output
from trainer.backends.compiled_cpu.losses import loss_and_gradient
from trainer.backends.compiled_cpu.rows import AHEAD, adagrad_update, ask_for_row

SMALL = 1_000_000
"""Up to this product of the three sizes OpenBLAS multiplies without repacking, which pays in blocks of `FEWEST`."""

FEWEST = 48
"""Items of a block below which repacking large blocks is faster: 92 instead of 47 GFLOP/s for 128 lanes of 516."""

MOST = 256
"""The most items of a block; their rows stay in the cache."""


@compiled_into_callers
def block_size(b: int, w: int) -> int:
    """Items of a block, for b lanes and rows of w numbers."""
    without_repacking = SMALL // (b * w) // 16 * 16
    return min(MOST, without_repacking) if without_repacking >= FEWEST else MOST


@compiled_into_callers
def copy(source: Floats, target: Floats, factor: np.float32) -> None:
    """target = factor · source; both of one length."""
    for place in range(len(target)):  # the index is never negative, so the loop is vectorised
        target[place] = factor * source[place]


@compiled_into_callers
def gather(model: Model, columns: Columns, out: Output, w: int, first: int, last: int) -> None:
    """Copy the weights of items `first` to `last` into one array."""
    rows = model.rows
    wanted = 4 * w
    for slot in range(first, min(first + AHEAD, last)):
        ask_for_row(rows, columns.item[slot], wanted)
    for slot in range(first, last):
        if slot + AHEAD < last:
            ask_for_row(rows, columns.item[slot + AHEAD], wanted)
        copy(rows[columns.item[slot], 0], out.weight[slot * w : (slot + 1) * w], ONE)


@compiled_into_callers
def score(layer: Layer, out: Output, b: int, scored: int, first: int, last: int) -> None:
    """Compute the scores of the blocks `first` to `last`, (b, n) each."""
    w = layer.output.shape[1]
    size = block_size(b, w)
    for begin in range(first * size, min(last * size, scored), size):
        end = min(begin + size, scored)
        weight = out.weight[begin * w : end * w].reshape(end - begin, w)
        np.dot(layer.output[:b], weight.T, out.scores[begin * b : end * b].reshape(b, end - begin))


@compiled_into_callers
def losses(
    out: Output, columns: Columns, b: int, scored: int, options: Options, part: int, first: int, last: int
) -> None:
    """Replace the scores of lanes `first` to `last` by their gradients, and sum the lanes' losses."""
    share = ONE / np.float32(options.lanes)
    size = block_size(b, out.d_output.shape[2])
    row, weight = out.row[part, :scored], columns.weight[:scored]
    total = 0.0
    for lane in range(first, last):
        for start in range(0, scored, size):
            n = min(size, scored - start)
            begin = start * b + lane * n
            copy(out.scores[begin : begin + n], row[start : start + n], ONE)
        total += loss_and_gradient(row, weight, columns.target[lane], b + options.samples, options)
        for start in range(0, scored, size):
            n = min(size, scored - start)
            begin = start * b + lane * n
            copy(row[start : start + n], out.scores[begin : begin + n], share)
    out.loss[part] = total


@compiled_into_callers
def backprop_rows(
    model: Model,
    out: Output,
    layer: Layer,
    columns: Columns,
    b: int,
    scored: int,
    options: Options,
    part: int,
    first: int,
    last: int,
) -> None:
    """Back-propagate the scores' gradients of blocks `first` to `last` to the outputs, and update the blocks' rows.

    Rows of clicked items are updated later; their gradients are stored in `d_clicked`.
    """
    w = layer.output.shape[1]
    rows = model.rows
    wanted = 3 * 4 * w
    output, d_output, d_block = layer.output[:b], out.d_output[part, :b], out.d_block[part, :b]
    d_output[:] = 0
    size = block_size(b, w)
    for begin in range(first * size, min(last * size, scored), size):
        end = min(begin + size, scored)
        n = end - begin
        gradient = out.scores[begin * b : end * b].reshape(b, n)
        np.dot(gradient, out.weight[begin * w : end * w].reshape(n, w), d_block)
        d_output += d_block
        d_weight = out.d_weight[part, : n * w].reshape(n, w)
        np.dot(gradient.T, output, d_weight)
        for slot in range(begin, end):
            if slot + AHEAD < scored:
                ask_for_row(rows, columns.item[slot + AHEAD], wanted)
            if columns.waits[slot] >= 0:
                out.d_clicked[columns.waits[slot]] = d_weight[slot - begin]
                continue
            row = rows[columns.item[slot]]
            adagrad_update(row[0], row[1], row[2], d_weight[slot - begin], options.learning_rate, options.momentum)
