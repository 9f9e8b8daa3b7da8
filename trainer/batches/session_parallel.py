"""Session-parallel mini-batches (Hidasi et al. 2016, section 3.1.1), laid out flat for a whole epoch.

There are B lanes. At every step each lane has one click as input, and its session's next click as target. When a lane's
session has ended, the lane takes the next session. At the end of the epoch no session is left, and the batch shrinks.

Example: three sessions a b c / d e / f g h in two lanes.

    step   lane 0   lane 1
    0      a→b *    d→e *       * the lane's hidden state is set to zero before this step, and only before such steps
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
        lane: (E,) int32, from 0 to B-1; strictly ascending within a step.
        reset: (E,) bool, whether the pair is its session's first.
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
    """Assign sessions to `lanes` lanes; each session goes to the first lane that becomes free.

    Args:
        sessions: at least two clicks each.
        lanes: B.
        order: (S,), the session numbers in the order in which lanes take them; None for the order of `sessions`.
    """
    events = sessions.pairs
    lengths = np.diff(sessions.offsets)  # (S,)
    longest = int(lengths.max()) if len(lengths) else 0
    steps = np.zeros(events // lanes + longest + 2, dtype=np.int64)  # longest list schedule (Graham 1966)
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
    """The session numbers in the order in which lanes take them in an epoch, (S,) int64.

    Args:
        sessions: in the order of their first click.
        order: `time` keeps that order, `length` takes the longest first, `random` draws a new order for each epoch.
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
    input: NDArray[np.int32],  # (E,); this array and those that follow are outputs
    target: NDArray[np.int32],  # (E,)
    lane_of: NDArray[np.int32],  # (E,)
    reset: NDArray[np.bool_],  # (E,)
    steps: NDArray[np.int64],
) -> int:
    """Fill the schedule step by step; returns the number of steps."""
    click = np.zeros(lanes, dtype=np.int64)  # the next click of each lane's session
    last = np.zeros(lanes, dtype=np.int64)  # the last click of each lane's session, which is only a target
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
