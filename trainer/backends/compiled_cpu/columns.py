"""The unique items of a step: targets, drawn negatives and clicked items.

An item can occur in several columns. The loss over columns equals the loss over unique items, each weighted by the sum
of its columns' weights, and so do the gradients. This saves 3 % (with 43,000 items) to 48 % (with 2,700 items) of the
columns, and each row is updated only once.
"""

import numpy as np
from numpy.typing import NDArray

from rankers.compiled import compiled_into_callers
from trainer.backends.compiled_cpu.arithmetic import random_word, uniform_double
from trainer.backends.compiled_cpu.layout import Columns, Items, Whole


@compiled_into_callers
def draw(drawn: Whole, items: Items, key: np.uint64, first: int) -> None:
    """Draw the negatives from number `first` on, as `trainer.objective.negatives.NegativeSampler`, without branches."""
    for number in range(len(drawn)):
        place = uniform_double(random_word(key, first + number)) * len(items.keep)
        slot = np.int64(place)
        drawn[number] = items.choice[slot, np.int64(place - slot >= items.keep[slot])]


@compiled_into_callers
def collect(
    columns: Columns,
    items: Items,
    inputs: NDArray[np.int32],  # (b,)
    targets: NDArray[np.int32],  # (b,)
    samples: int,
    key: np.uint64,
    drawn: int,
) -> None:
    """Fill `columns` for a step."""
    count = 0
    for lane in range(len(targets)):
        count = _add(columns, items, targets[lane], count)
        slot = items.slot[targets[lane]]
        columns.weight[slot] += items.target_weight[targets[lane]]
        columns.target[lane] = slot
    draw(columns.drawn[:samples], items, key, drawn)
    for number in range(samples):
        item = columns.drawn[number]
        count = _add(columns, items, item, count)
        columns.weight[items.slot[item]] += items.sample_weight[item]
    scored = count
    waiting = 0
    for lane in range(len(inputs)):
        count = _add(columns, items, inputs[lane], count)
        slot = items.slot[inputs[lane]]
        columns.clicked[lane] = slot
        if columns.waits[slot] < 0:
            columns.waits[slot] = waiting
            waiting += 1
    for slot in range(count):
        items.slot[columns.item[slot]] = -1
    columns.sizes[0], columns.sizes[1] = scored, count


@compiled_into_callers
def _add(columns: Columns, items: Items, item: int, count: int) -> int:
    """Give an item a slot if it has none yet; returns the number of items with a slot."""
    if items.slot[item] >= 0:
        return count
    items.slot[item] = count
    columns.item[count] = item
    columns.weight[count] = 0
    columns.waits[count] = -1
    return count + 1
