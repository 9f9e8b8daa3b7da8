"""Trains the common configuration with compiled loops: shared embedding, one layer, reset after, Adagrad.

It gives the same result as `trainer.backends.reference`, with the same schedule and the same negatives, and is several
times as fast on a CPU.

The modules of one step:

    columns   targets and drawn negatives to the step's unique items, each with the weight of all its columns
    gru       clicked items' rows and hidden states to the outputs, and later back again
    output    rows of the unique items to scores; gradients of the scores to gradients of rows and outputs
    losses    one lane's scores to its loss and the gradient of the scores
    rows      the table: one row per item with weight, accumulator and velocity; Adagrad

`step` calls them for every step of a schedule, with one or more `threads`. `arithmetic` has fast scalar functions,
`layout` and `workspace` have the arrays, and `backend` is the interface to Python.

An example: in lane 3, item 7 is clicked and item 9 is the next click. `columns` gives item 9 a slot, like every other
target and negative. `gru` reads row 7 and lane 3's hidden state, and computes the output. `output` multiplies the
output by the rows of the slots; this gives lane 3's scores, including the score of item 9. `losses` computes the loss
and its gradient by each score. `output` propagates the gradient back to the GRU's output and to the rows of the slots.
`rows` updates these rows immediately, except those of clicked items: row 7 must wait until `gru` has propagated the
output's gradient back to it.

Sizes in the comments: b live lanes, h hidden units, U unique items scored, V ≥ U with the items that are only clicked,
w = h + 1 rounded up to a multiple of 8, P parts that threads share. Element h of a row is the item's bias, and element
h of every output is 1. The elements after it pad the row to whole vectors; they are 0 and stay 0. All is float32.
"""
