"""Mini-batches of whole sessions of equal length, for networks that read the history.

Each session is one row of a batch: all its clicks but the last are inputs, and after each of them the next click is a
target. A batch has about as many targets whatever the length of its sessions. A session with more inputs than the
network's window is cut: its pieces share one click, so that every pair is trained exactly once.

Sessions are taken in the order of the epoch, and each goes to the batch of its length. A batch is trained once it is
full; those that do not fill up are trained at the end of the epoch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clicklog.sessions import Sessions


@dataclass(frozen=True)
class EqualLengthBatches:
    """Every (click, next click) pair of the sessions exactly once.

    Attributes:
        items: (N,) int64, the clicks of all sessions.
        first: for each step (b,) int64, the place in `items` of each session's first input.
        inputs: (T,) int64, inputs of each session of a step.
        steps: (T+1,) int64; step t has the pairs `steps[t]` to `steps[t+1]` (exclusive).
    """

    items: NDArray[np.int64]
    first: list[NDArray[np.int64]]
    inputs: NDArray[np.int64]
    steps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    def clicks(self, step: int) -> NDArray[np.int64]:
        """The items of a step's sessions, (b, n + 1): the first n are the inputs, the last n their targets."""
        return self.items[self.first[step][:, np.newaxis] + np.arange(self.inputs[step] + 1)]


def equal_length(sessions: Sessions, pairs: int, window: int, order: NDArray[np.int64]) -> EqualLengthBatches:
    """Arrange sessions in batches.

    Args:
        sessions: at least two clicks each.
        pairs: most pairs of a step; a session that has more is a step of its own.
        window: most inputs of a session; longer ones are cut.
        order: (S,), the session numbers in the order in which they are taken.
    """
    first, inputs = _pieces(sessions, window, order)
    batches = []  # when the batch is full, and its pieces
    for length in np.unique(inputs):
        places = np.flatnonzero(inputs == length)
        size = max(1, pairs // int(length))
        for begin in range(0, len(places), size):
            batch = places[begin : begin + size]
            batches.append((batch[-1] if len(batch) == size else len(inputs), batch))
    batches.sort(key=lambda batch: batch[0])  # stable: at the end of the epoch the shortest sessions come first
    lengths = np.array([inputs[batch[0]] for _, batch in batches])
    sizes = np.array([len(batch) for _, batch in batches])
    steps = np.concatenate([[0], np.cumsum(lengths * sizes)])
    return EqualLengthBatches(sessions.items, [first[batch] for _, batch in batches], lengths, steps)


def _pieces(sessions: Sessions, window: int, order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The place of each piece's first input, and its number of inputs, (P,) each; in the order of the sessions."""
    pairs = np.diff(sessions.offsets)[order] - 1  # (S,)
    count = -(-pairs // window)  # (S,), pieces of each session
    piece = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)  # (P,), its number in its session
    first = np.repeat(sessions.offsets[order], count) + piece * window
    return first, np.minimum(np.repeat(pairs, count) - piece * window, window)
