"""The common configuration trained by compiled loops: shared embedding, one layer, reset after, Adagrad.

It trains the same as `trainer.backends.reference`, on the same schedule and the same negatives, several times as fast
on a CPU.
One step, with the module that does it:

    columns   targets and drawn negatives to the step's unique items, each with the weight of all its columns
    gru       clicked items' rows and hidden states to the outputs, and later back again
    output    rows of the unique items to scores; gradients of the scores to gradients of rows and outputs
    losses    one lane's scores to its loss and the gradient of the scores
    rows      the table: one row per item with weight, accumulator and velocity; Adagrad

`step` puts them together and walks a schedule, on one or more `threads`. `arithmetic` has the fast functions of numbers
that they are made of, `layout` and `workspace` the arrays, and `backend` is the way in from Python.

One click through it: lane 3 has its session's click on item 7, and item 9 is clicked next. `columns` gives 9 a slot,
as it does every other target and negative. `gru` reads row 7 and lane 3's hidden state and makes the output.
`output` multiplies it with the slots' rows: lane 3's scores, item 9's among them. `losses` turns them into a loss and
its gradient by each score. `output` propagates that back to the GRU's output and to the slots' rows, and `rows` updates
these at once, except those of clicked items: `gru` first propagates the output's gradient back to row 7.

Sizes in the comments: b live lanes, h hidden units, U unique items scored, V ≥ U with the items that are only clicked,
w = h + 1 rounded up to a multiple of 8, P parts that threads share. A row's element h is the item's bias: every output
has a 1 there. The rest is 0 and stays 0, and whole vectors fit. Everything is float32.
"""
