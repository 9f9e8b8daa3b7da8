"""Forward and backward pass of the layer, with the reset gate after the product (equations in the network's module).

Back-propagation ends at `before`, the hidden state before the step.

a_r = (W_r x + b_r) + U_r h          r = σ(a_r)         forward
a_z = (W_z x + b_z) + U_z h          z = σ(a_z)
q   = U_h h + b'
a_c = (W_h x + b_h) + r∘q            c = tanh(a_c)
h'  = h + z∘(c − h)                  output = h'∘kept

dh' = d_output∘kept                                     backward
da_c = dh'∘z∘(1 − c²)                da_z = dh'∘(c − h)∘z∘(1 − z)
da_r = da_c∘q∘r∘(1 − r)              dq = da_c∘r
dW = xᵀ [da_r da_z da_c]             dU = hᵀ [da_r da_z dq]          dx = [da_r da_z da_c] Wᵀ∘x_kept
"""

import numpy as np
from numpy.typing import NDArray

from rankers.compiled import compiled_into_callers
from trainer.backends.compiled_cpu.arithmetic import ONE, ZERO, random_word, sigmoid, tanh, uniform_single
from trainer.backends.compiled_cpu.layout import Columns, Floats, Layer, Model, Options, Output
from trainer.backends.compiled_cpu.output import SMALL
from trainer.backends.compiled_cpu.rows import adagrad_update, add


@compiled_into_callers
def keep_units(kept: Floats, rate: np.float32, key: np.uint64, first: int) -> None:
    """Draw a dropout mask: 1 / (1 − rate) for kept units, 0 for others; `first` numbers the first random word."""
    scale = ONE / (ONE - rate)
    for unit in range(len(kept)):
        kept[unit] = scale if uniform_single(random_word(key, first + unit)) >= rate else ZERO


@compiled_into_callers
def load_inputs(
    model: Model,
    layer: Layer,
    columns: Columns,
    out: Output,
    lanes: NDArray[np.int32],  # (b,)
    reset: NDArray[np.bool_],  # (b,)
    options: Options,
    event: int,
    first: int,
    last: int,
) -> None:
    """Fill `layer.x` with the clicked items' rows after dropout, and `layer.before` with the lanes' states."""
    h, w = layer.x.shape[1], layer.output.shape[1]
    for i in range(first, last):
        row = out.weight[columns.clicked[i] * w : columns.clicked[i] * w + h]
        x, before = layer.x[i], layer.before[i]
        if options.dropout_embedding > 0:
            keep_units(layer.x_kept[i], options.dropout_embedding, options.dropout_key, 2 * h * (event + i))
            for j in range(h):
                x[j] = row[j] * layer.x_kept[i, j]
        else:
            x[:] = row
        if reset[i]:
            before[:] = ZERO
        else:
            before[:] = model.hidden[lanes[i]]


@compiled_into_callers
def block_of_lanes(lanes: int, h: int) -> int:
    """Lanes of a product with a matrix (h, 3h): few without repacking it, or all, if that would make many blocks."""
    without_repacking = SMALL // (3 * h * h) // 8 * 8
    return max(1, without_repacking if lanes <= 4 * without_repacking else lanes)


@compiled_into_callers
def forward(
    model: Model,
    layer: Layer,
    columns: Columns,
    out: Output,
    lanes: NDArray[np.int32],  # (b,)
    reset: NDArray[np.bool_],  # (b,)
    options: Options,
    event: int,
    first: int,
    last: int,
) -> None:
    """Compute the layer's output and the new hidden states of lanes `first` to `last`."""
    h = layer.x.shape[1]
    dense = model.dense[0]
    w_matrix = dense[: 3 * h * h].reshape(h, 3 * h)
    u_matrix = dense[3 * h * h : 6 * h * h].reshape(h, 3 * h)
    bias = dense[6 * h * h : 6 * h * h + 3 * h]
    q_bias = dense[6 * h * h + 3 * h :]
    load_inputs(model, layer, columns, out, lanes, reset, options, event, first, last)
    size = block_of_lanes(last - first, h)
    for begin in range(first, last, size):
        end = min(begin + size, last)
        np.dot(layer.x[begin:end], w_matrix, layer.wx[begin:end])
        np.dot(layer.before[begin:end], u_matrix, layer.uh[begin:end])
    for i in range(first, last):
        wx, uh, gates = layer.wx[i], layer.uh[i], layer.gates[i]
        for j in range(2 * h):
            gates[j] = sigmoid(wx[j] + bias[j] + uh[j])
        r, z, candidate = gates[:h], gates[h : 2 * h], gates[2 * h :]
        wx_c, q, bias_c = wx[2 * h :], uh[2 * h :], bias[2 * h :]
        before, output = layer.before[i], layer.output[i]
        for j in range(h):
            q[j] += q_bias[j]
            candidate[j] = tanh(wx_c[j] + bias_c[j] + r[j] * q[j])
            output[j] = before[j] + z[j] * (candidate[j] - before[j])
        if options.dropout_hidden > 0:
            keep_units(layer.output_kept[i], options.dropout_hidden, options.dropout_key, 2 * h * (event + i) + h)
            for j in range(h):
                output[j] *= layer.output_kept[i, j]
        output[h] = ONE
        model.hidden[lanes[i]] = output[:h]


@compiled_into_callers
def backward(model: Model, layer: Layer, out: Output, options: Options, part: int, first: int, last: int) -> None:
    """Compute the gradients of the layer's parameters and input from `out.d_output`, for lanes `first` to `last`."""
    h = layer.x.shape[1]
    w_matrix = model.dense[0, : 3 * h * h].reshape(h, 3 * h)
    d_dense = layer.d_dense[part]
    d_bias = d_dense[6 * h * h : 6 * h * h + 3 * h]
    d_q_bias = d_dense[6 * h * h + 3 * h :]
    d_bias[:] = ZERO
    d_q_bias[:] = ZERO
    for i in range(first, last):
        wx, uh, gates = layer.wx[i], layer.uh[i], layer.gates[i]
        before, d_output = layer.before[i], out.d_output[0, i]
        for other in range(1, options.parts):
            more = out.d_output[other, i]
            for j in range(h):
                d_output[j] += more[j]
        if options.dropout_hidden > 0:
            for j in range(h):
                d_output[j] *= layer.output_kept[i, j]
        r, z, candidate, q = gates[:h], gates[h : 2 * h], gates[2 * h :], uh[2 * h :]
        d_r, d_z, d_candidate = wx[:h], wx[h : 2 * h], wx[2 * h :]  # a_r, a_z and a_c are no longer needed
        for j in range(h):
            d_c = d_output[j] * z[j] * (ONE - candidate[j] * candidate[j])
            d_candidate[j] = d_c
            d_z[j] = d_output[j] * (candidate[j] - before[j]) * z[j] * (ONE - z[j])
            d_r[j] = d_c * q[j] * r[j] * (ONE - r[j])
            q[j] = d_c * r[j]
            d_q_bias[j] += q[j]
        for j in range(2 * h):
            uh[j] = wx[j]
        for j in range(3 * h):
            d_bias[j] += wx[j]
    d_wx, d_uh = layer.wx[first:last], layer.uh[first:last]
    np.dot(layer.x[first:last].T, d_wx, d_dense[: 3 * h * h].reshape(h, 3 * h))
    np.dot(layer.before[first:last].T, d_uh, d_dense[3 * h * h : 6 * h * h].reshape(h, 3 * h))
    np.dot(d_wx, w_matrix.T, layer.d_x[first:last])
    if options.dropout_embedding > 0:
        for i in range(first, last):
            for j in range(h):
                layer.d_x[i, j] *= layer.x_kept[i, j]


@compiled_into_callers
def update_parameters(model: Model, layer: Layer, options: Options, first: int, last: int) -> None:
    """Update the layer's parameters `first` to `last` by the sum of the parts' gradients."""
    d_dense = layer.d_dense[0, first:last]
    for part in range(1, options.parts):
        add(layer.d_dense[part, first:last], d_dense)
    p, accumulator, velocity = model.dense[0, first:last], model.dense[1, first:last], model.dense[2, first:last]
    adagrad_update(p, accumulator, velocity, d_dense, options.learning_rate, options.momentum)
