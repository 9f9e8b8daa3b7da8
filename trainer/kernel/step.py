"""One training step, and the walk over a schedule."""

import math

import numpy as np

from gru4rec.compiled import compiled
from trainer.kernel import gru
from trainer.kernel.columns import collect
from trainer.kernel.layout import Columns, Items, Layer, Model, Options, Output, Plan
from trainer.kernel.output import MOST, gather, learn, losses, score
from trainer.kernel.rows import move


@compiled
def walk(
    model: Model, items: Items, plan: Plan, options: Options, first: int, last: int, drawn: int, events: int
) -> float:
    """Train steps `first` to `last` (exclusive).

    Args:
        model: trained in place.
        items: see there.
        plan: the schedule of the epoch.
        options: see there.
        first: step to begin with.
        last: step to end before.
        drawn: negatives drawn before step 0 of this epoch.
        events: events trained before step 0 of this epoch; they number the dropped units.

    Returns:
        The summed loss of the steps' events.
    """
    most = options.lanes
    h, w = model.hidden.shape[1], model.rows.shape[2]
    slots = 2 * most + options.samples
    columns = Columns(
        np.empty(options.samples, np.int64),
        np.empty(slots, np.int64),
        np.empty(slots, np.float32),
        np.empty(most, np.int64),
        np.empty(most, np.int64),
        np.empty(slots, np.int32),
    )
    layer = Layer(
        np.empty((most, h), np.float32),
        np.empty((most, h), np.float32),
        np.empty((most, h), np.float32),
        np.empty((most, 3 * h), np.float32),
        np.empty((most, 3 * h), np.float32),
        np.empty((most, 3 * h), np.float32),
        np.zeros((most, w), np.float32),
        np.empty((most, h), np.float32),
        np.empty((most, w), np.float32),
        np.empty((most, h), np.float32),
        np.empty(model.dense.shape[1], np.float32),
    )
    out = Output(
        np.empty(slots * w, np.float32),
        np.empty(slots * most, np.float32),
        np.empty(slots, np.float32),
        np.empty(MOST * w, np.float32),
        np.empty((most, w), np.float32),
        np.empty((most, w), np.float32),
    )
    total = 0.0
    for number in range(first, last):
        begin = plan.steps[number]
        total += step(
            model,
            items,
            plan,
            options,
            columns,
            layer,
            out,
            begin,
            plan.steps[number + 1],
            drawn + number * options.samples,
            events + begin,
        )
    return total


@compiled
def step(
    model: Model,
    items: Items,
    plan: Plan,
    options: Options,
    columns: Columns,
    layer: Layer,
    out: Output,
    begin: int,
    end: int,
    drawn: int,
    event: int,
) -> float:
    """Train events `begin` to `end` of the plan; returns their summed loss."""
    b = end - begin
    h, w = model.hidden.shape[1], model.rows.shape[2]
    inputs, targets = plan.input[begin:end], plan.target[begin:end]
    scored, count = collect(columns, items, inputs, targets, options.samples, options.negatives_key, drawn)
    weight = out.weight[: count * w].reshape(count, w)
    gather(model, columns, weight)
    gru.forward(model, layer, columns, weight, plan.lane[begin:end], plan.reset[begin:end], options, event)
    score(weight, layer.output[:b], out.scores, scored)
    loss = losses(out, columns, b, scored, options)
    if options.loss == 0:  # the target's own correction
        for lane in range(b):
            loss -= math.log(items.target_weight[targets[lane]])
    for slot in range(scored, count):
        out.d_clicked[columns.waits[slot]] = 0
    learn(model, out, layer, columns, b, scored, options)
    gru.backward(model, layer, b, options)
    for lane in range(b):
        out.d_clicked[columns.waits[columns.clicked[lane]], :h] += layer.d_x[lane]
    for lane in range(b):
        slot = columns.clicked[lane]
        if columns.waits[slot] < 0:
            continue  # moved for another lane
        used = w if slot < scored else h  # an item that is only clicked has no part in the output bias
        row, gradient = model.rows[columns.item[slot]], out.d_clicked[columns.waits[slot]]
        move(row[0, :used], row[1, :used], row[2, :used], gradient[:used], options.learning_rate, options.momentum)
        columns.waits[slot] = -1
    dense = model.dense
    move(dense[0], dense[1], dense[2], layer.d_dense, options.learning_rate, options.momentum)
    return loss
