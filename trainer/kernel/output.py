"""Scores of the step's items, and their way back to the rows, in blocks of items that stay in the cache.

    S = O Wᵀ  (b, n)        dO = Σ over blocks G W  (b, w)        dW = Gᵀ O  (n, w)

with G the gradient of the loss by S. The biases are in it: element h of every output is 1.
"""

import numpy as np

from gru4rec.compiled import compiled
from trainer.kernel.arithmetic import ONE
from trainer.kernel.layout import Columns, Floats, Layer, Model, Options, Output
from trainer.kernel.losses import loss_and_gradient
from trainer.kernel.rows import AHEAD, ask_for_row, move

SMALL = 1_000_000
"""OpenBLAS multiplies without repacking where the three sizes' product is no larger: 113 instead of 90 GFLOP/s."""

MOST = 256
"""Items of a block; their rows stay in the cache."""


@compiled
def block_size(b: int, w: int) -> int:
    """Items of a block, for b lanes and rows of w numbers."""
    return max(16, min(MOST, SMALL // (b * w) // 16 * 16))


@compiled
def copy(source: Floats, target: Floats, factor: np.float32) -> None:
    """target = factor · source; both of one length."""
    for place in range(len(target)):  # an index that cannot be negative: the loop runs in vectors
        target[place] = factor * source[place]


@compiled
def gather(model: Model, columns: Columns, weight: Floats) -> None:
    """Copy the rows' weights together: (V, w)."""
    rows, count = model.rows, len(weight)
    wanted = 4 * weight.shape[1]
    for slot in range(min(AHEAD, count)):
        ask_for_row(rows, columns.item[slot], wanted)
    for slot in range(count):
        if slot + AHEAD < count:
            ask_for_row(rows, columns.item[slot + AHEAD], wanted)
        copy(rows[columns.item[slot], 0], weight[slot], ONE)


@compiled
def score(weight: Floats, output: Floats, scores: Floats, scored: int) -> None:
    """Outputs (b, w) and rows (V, w) to scores, block by block (b, n)."""
    b = len(output)
    size = block_size(b, output.shape[1])
    for first in range(0, scored, size):
        last = min(first + size, scored)
        block = scores[first * b : last * b].reshape(b, last - first)
        np.dot(output, weight[first:last].T, block)


@compiled
def losses(out: Output, columns: Columns, b: int, scored: int, options: Options) -> float:
    """Turn the scores of every lane into their gradients; returns the summed loss."""
    share = ONE / np.float32(options.lanes)
    size = block_size(b, out.d_output.shape[1])
    row, weight = out.row[:scored], columns.weight[:scored]
    total = 0.0
    for lane in range(b):
        for first in range(0, scored, size):
            n = min(size, scored - first)
            begin = first * b + lane * n
            copy(out.scores[begin : begin + n], row[first : first + n], ONE)
        total += loss_and_gradient(row, weight, columns.target[lane], b + options.samples, options)
        for first in range(0, scored, size):
            n = min(size, scored - first)
            begin = first * b + lane * n
            copy(row[first : first + n], out.scores[begin : begin + n], share)
    return total


@compiled
def learn(model: Model, out: Output, layer: Layer, columns: Columns, b: int, scored: int, options: Options) -> None:
    """From the scores' gradients to `layer.d_output`, and move the rows; those of clicked items go to `d_clicked`."""
    w = layer.output.shape[1]
    rows = model.rows
    wanted = 3 * 4 * w
    output, d_output = layer.output[:b], layer.d_output[:b]
    part = out.d_output[:b]
    d_output[:] = 0
    size = block_size(b, w)
    for first in range(0, scored, size):
        last = min(first + size, scored)
        n = last - first
        gradient = out.scores[first * b : last * b].reshape(b, n)
        np.dot(gradient, out.weight[first * w : last * w].reshape(n, w), part)
        d_output += part
        d_weight = out.d_weight[: n * w].reshape(n, w)
        np.dot(gradient.T, output, d_weight)
        for slot in range(first, last):
            if slot + AHEAD < scored:
                ask_for_row(rows, columns.item[slot + AHEAD], wanted)
            if columns.waits[slot] >= 0:
                out.d_clicked[columns.waits[slot]] = d_weight[slot - first]
                continue
            row = rows[columns.item[slot]]
            move(row[0], row[1], row[2], d_weight[slot - first], options.learning_rate, options.momentum)
