"""One training step, and the loop over the steps of a schedule.

A step is a sequence of phases. Most are cut into P parts, by lanes or by blocks of items, which the threads share.
Between two phases the threads wait for each other. How the work is cut depends only on the step's sizes, and the parts
are summed in a fixed order, so the result is bit for bit the same with any number of threads.
"""

import math

from rankers.compiled import compiled, compiled_into_callers
from trainer.backends.compiled_cpu import gru
from trainer.backends.compiled_cpu.columns import collect
from trainer.backends.compiled_cpu.layout import Columns, Items, Layer, Model, Options, Output, StepPlan, Team
from trainer.backends.compiled_cpu.output import backprop_rows, block_size, gather, losses, score
from trainer.backends.compiled_cpu.rows import adagrad_update
from trainer.backends.compiled_cpu.threads import barrier


@compiled
def walk(
    model: Model,
    items: Items,
    plan: StepPlan,
    options: Options,
    columns: Columns,
    layer: Layer,
    out: Output,
    team: Team,
    first: int,
    last: int,
    drawn: int,
    events: int,
) -> float:
    """Train steps `first` to `last` (exclusive), together with the other threads of the team.

    Args:
        model: trained in place.
        items: see `Items`.
        plan: the schedule of the epoch.
        options: see `Options`.
        columns: from `trainer.backends.compiled_cpu.workspace`.
        layer: from there as well.
        out: from there as well.
        team: this thread; the others call `walk` with the same arguments, except for the thread's number.
        first: first step.
        last: end of the steps, exclusive.
        drawn: negatives drawn before step 0 of this epoch.
        events: events trained before step 0 of this epoch; they number the random words of dropout.

    Returns:
        The summed loss of the steps' events in thread 0, and 0 in the others.
    """
    total = 0.0
    for number in range(first, last):
        begin, end = plan.steps[number], plan.steps[number + 1]
        now = StepPlan(
            plan.input[begin:end], plan.target[begin:end], plan.lane[begin:end], plan.reset[begin:end], plan.steps
        )
        total += step(
            model, items, now, options, columns, layer, out, team, drawn + number * options.samples, events + begin
        )
    return total


@compiled_into_callers
def step(
    model: Model,
    items: Items,
    now: StepPlan,  # the step's events alone
    options: Options,
    columns: Columns,
    layer: Layer,
    out: Output,
    team: Team,
    drawn: int,
    event: int,
) -> float:
    """Train one step; returns the summed loss of its events in thread 0, and 0 in the others."""
    b, parts, w = len(now.target), options.parts, layer.output.shape[1]
    if team.number == 0:
        collect(columns, items, now.input, now.target, options.samples, options.negatives_key, drawn)
    barrier(team)
    scored, count = columns.sizes
    blocks = -(-scored // block_size(b, w))
    for part in range(team.number, parts, team.size):
        gather(model, columns, out, w, *share(count, part, parts))
    barrier(team)
    for part in range(team.number, parts, team.size):
        gru.forward(model, layer, columns, out, now.lane, now.reset, options, event, *share(b, part, parts))
    barrier(team)
    for part in range(team.number, parts, team.size):
        score(layer, out, b, scored, *share(blocks, part, parts))
    barrier(team)
    for part in range(team.number, parts, team.size):
        losses(out, columns, b, scored, options, part, *share(b, part, parts))
    barrier(team)
    for part in range(team.number, parts, team.size):
        backprop_rows(model, out, layer, columns, b, scored, options, part, *share(blocks, part, parts))
    barrier(team)
    for part in range(team.number, parts, team.size):
        gru.backward(model, layer, out, options, part, *share(b, part, parts))
    barrier(team)
    for part in range(team.number, parts, team.size):
        gru.update_parameters(model, layer, options, *share(model.dense.shape[1], part, parts))
    if team.number > 0:
        return 0.0  # waits at the next step's first barrier; until then only thread 0 uses columns and rows
    update_clicked_rows(model, out, layer, columns, b, options)
    loss = out.loss.sum()
    if options.loss == 0:  # the targets' corrections
        for lane in range(b):
            loss -= math.log(items.target_weight[now.target[lane]])
    return loss  # type: ignore[no-any-return]


@compiled_into_callers
def share(count: int, part: int, parts: int) -> tuple[int, int]:
    """Begin and end (exclusive) of a part's share of `count` things."""
    return count * part // parts, count * (part + 1) // parts


@compiled_into_callers
def update_clicked_rows(model: Model, out: Output, layer: Layer, columns: Columns, b: int, options: Options) -> None:
    """Update the rows of clicked items, whose gradients come from both the output and the input."""
    h, w = layer.d_x.shape[1], layer.output.shape[1]
    scored, count = columns.sizes
    for slot in range(scored, count):
        out.d_clicked[columns.waits[slot]] = 0
    for lane in range(b):
        out.d_clicked[columns.waits[columns.clicked[lane]], :h] += layer.d_x[lane]
    for lane in range(b):
        slot = columns.clicked[lane]
        if columns.waits[slot] < 0:
            continue  # already updated for another lane
        used = w if slot < scored else h  # an item that is not scored does not use its output bias
        row, gradient = model.rows[columns.item[slot]], out.d_clicked[columns.waits[slot]]
        adagrad_update(
            row[0, :used], row[1, :used], row[2, :used], gradient[:used], options.learning_rate, options.momentum
        )
        columns.waits[slot] = -1
