"""Session-parallel mini-batches (Hidasi et al. 2016, section 3.1.1), laid out flat for a whole epoch.

B lanes run side by side. At every step each lane feeds one click and has its session's next click as the target. A
lane whose session has ended takes the next session; at the end of the epoch, when none is left, the batch shrinks.

Example: three sessions a b c / d e / f g h in two lanes.

    step   lane 0   lane 1
    0      a→b *    d→e *       * the lane's hidden state is zeroed before this step, and before no other
    1      b→c      f→g *
    2               g→h
"""

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.sessions import Sessions


@dataclass(frozen=True)
class Schedule:
    """Every (click, next click) pair of the sessions exactly once, ordered by step and lane.

    Attributes:
        lanes: B, the nominal batch size.
        input: (E,) int64, row of the clicked item.
        target: (E,) int64, row of the item clicked next.
        lane: (E,) int64, from 0 to B-1; ascending and without repetition within a step.
        reset: (E,) bool, the pair is its session's first.
        steps: (T+1,) int64; step t is the slice `steps[t]:steps[t+1]`, never empty.
    """

    lanes: int
    input: NDArray[np.int64]
    target: NDArray[np.int64]
    lane: NDArray[np.int64]
    reset: NDArray[np.bool_]
    steps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.steps) - 1


def session_parallel(sessions: Sessions, lanes: int) -> Schedule:
    """Lay sessions out in `lanes` lanes, in their order; each goes to the lane that is free first."""
    pairs = np.diff(sessions.offsets) - 1  # (S,)
    start, lane = _place(pairs, lanes)  # (S,) each
    session = np.repeat(np.arange(len(pairs)), pairs)  # (E,)
    nth = np.arange(len(session)) - np.repeat(np.cumsum(pairs) - pairs, pairs)  # (E,) pair's number in its session
    step = start[session] + nth  # (E,)
    order = np.argsort(step * lanes + lane[session], kind="stable")  # (E,)
    session, nth = session[order], nth[order]
    click = sessions.offsets[session] + nth  # (E,)
    sizes = np.bincount(step) if len(step) else np.zeros(0, dtype=np.int64)  # (T,)
    return Schedule(
        lanes=lanes,
        input=sessions.items[click],
        target=sessions.items[click + 1],
        lane=lane[session],
        reset=nth == 0,
        steps=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
    )


def _place(pairs: NDArray[np.int64], lanes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First step and lane of each session, (S,) each."""
    free = [(0, lane) for lane in range(lanes)]
    start = np.empty(len(pairs), dtype=np.int64)
    chosen = np.empty(len(pairs), dtype=np.int64)
    for session, length in enumerate(pairs.tolist()):
        step, lane = free[0]
        start[session], chosen[session] = step, lane
        heapq.heapreplace(free, (step + length, lane))
    return start, chosen
