"""Session-parallel mini-batches (Hidasi et al. 2016, section 3.1.1), laid out flat for a whole epoch.

B lanes run side by side. At every step each lane feeds one click and has its session's next click as the target. A
lane whose session has ended takes the next session; at the end of the epoch, when none is left, the batch shrinks.

Example: three sessions a b c / d e / f g h in two lanes.

    step   lane 0   lane 1
    0      a→b *    d→e *       * the lane's hidden state is zeroed before this step, and before no other
    1      b→c      f→g *
    2               g→h
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clicklog.sessions import Sessions
from rankers.compiled import compiled

Order = Literal["time", "length", "random"]


@dataclass(frozen=True)
class Schedule:
    """Every (click, next click) pair of the sessions exactly once, ordered by step and lane.

    Attributes:
        lanes: B, the nominal batch size.
        input: (E,) int32, row of the clicked item.
        target: (E,) int32, row of the item clicked next.
        lane: (E,) int32, from 0 to B-1; ascending and without repetition within a step.
        reset: (E,) bool, the pair is its session's first.
        steps: (T+1,) int64; step t is the slice `steps[t]:steps[t+1]`, never empty.
    """

    lanes: int
    input: NDArray[np.int32]
    target: NDArray[np.int32]
    lane: NDArray[np.int32]
    reset: NDArray[np.bool_]
    steps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.steps) - 1


def session_parallel(sessions: Sessions, lanes: int, order: NDArray[np.int64] | None = None) -> Schedule:
    """Lay sessions out in `lanes` lanes; each goes to the lane that is free first.

    Args:
        sessions: at least two clicks each.
        lanes: B.
        order: (S,), the sessions' numbers in the order that they are taken in; their own where None.
    """
    events = sessions.pairs
    lengths = np.diff(sessions.offsets)  # (S,)
    longest = int(lengths.max()) if len(lengths) else 0
    steps = np.zeros(events // lanes + longest + 2, dtype=np.int64)  # Graham 1966: no list schedule is longer
    schedule = Schedule(
        lanes=lanes,
        input=np.empty(events, dtype=np.int32),
        target=np.empty(events, dtype=np.int32),
        lane=np.empty(events, dtype=np.int32),
        reset=np.empty(events, dtype=np.bool_),
        steps=steps,
    )
    if order is None:
        order = np.arange(len(sessions))
    count = _lay_out(
        sessions.items,
        sessions.offsets,
        order,
        lanes,
        schedule.input,
        schedule.target,
        schedule.lane,
        schedule.reset,
        steps,
    )
    return replace(schedule, steps=steps[: count + 1])


def session_order(sessions: Sessions, order: Order, seed: int, epoch: int) -> NDArray[np.int64]:
    """The sessions' numbers in the order that an epoch takes them, (S,) int64.

    Args:
        sessions: in the order of their first click.
        order: `time` keeps that order, `length` takes the longest first, `random` draws another for each epoch.
        seed: of the random order.
        epoch: from 1.
    """
    if order == "random":
        return np.random.default_rng([seed, epoch]).permutation(len(sessions))
    if order == "length":
        return np.argsort(-np.diff(sessions.offsets), kind="stable")
    return np.arange(len(sessions))


@compiled
def _lay_out(
    items: NDArray[np.int64],  # (N,)
    offsets: NDArray[np.int64],  # (S+1,)
    order: NDArray[np.int64],  # (S,)
    lanes: int,
    input: NDArray[np.int32],  # (E,), this and what follows is written
    target: NDArray[np.int32],  # (E,)
    lane_of: NDArray[np.int32],  # (E,)
    reset: NDArray[np.bool_],  # (E,)
    steps: NDArray[np.int64],
) -> int:
    """Play the sessions step by step; returns the number of steps."""
    click = np.zeros(lanes, dtype=np.int64)  # the next click of the lane's session,
    last = np.zeros(lanes, dtype=np.int64)  # and its last one, which is a target only
    waiting = 0
    event = 0
    step = 0
    while event < len(input):
        for lane in range(lanes):
            starts = click[lane] == last[lane]
            if starts:
                if waiting == len(order):
                    continue
                session = order[waiting]
                waiting += 1
                click[lane] = offsets[session]
                last[lane] = offsets[session + 1] - 1
            input[event] = items[click[lane]]
            click[lane] += 1
            target[event] = items[click[lane]]
            lane_of[event] = lane
            reset[event] = starts
            event += 1
        step += 1
        steps[step] = event
    return step
