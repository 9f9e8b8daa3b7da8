from collections import Counter

import numpy as np
import pytest

from clicklog.sessions import Sessions
from trainer.batches.equal_length import EqualLengthBatches, equal_length


def sessions_of(lengths: list[int]) -> Sessions:
    """Every click has an item of its own."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sessions(np.arange(offsets[-1]), offsets)


def pairs_of(batches: EqualLengthBatches) -> list[tuple[int, int]]:
    return [
        (int(row[place]), int(row[place + 1]))
        for step in range(len(batches))
        for row in batches.clicks(step)
        for place in range(len(row) - 1)
    ]


@pytest.mark.parametrize("window", [1, 3, 50])
@pytest.mark.parametrize("pairs", [1, 8, 1000])
def test_every_pair_is_trained_once_in_steps_of_the_asked_size(window: int, pairs: int) -> None:
    lengths = np.random.default_rng(0).integers(2, 12, 60).tolist()
    sessions = sessions_of(lengths)
    batches = equal_length(sessions, pairs, window, np.random.default_rng(1).permutation(60))
    expected = [
        (click, click + 1)
        for first, end in zip(sessions.offsets[:-1], sessions.offsets[1:], strict=True)
        for click in range(first, end - 1)
    ]
    assert Counter(pairs_of(batches)) == Counter(expected)
    assert batches.steps[-1] == sessions.pairs == len(expected)
    for step in range(len(batches)):
        rows, clicks = batches.clicks(step).shape
        assert rows * (clicks - 1) == batches.steps[step + 1] - batches.steps[step]
        assert clicks - 1 <= window
        assert rows == 1 or rows * (clicks - 1) <= pairs


def test_a_session_of_the_window_s_length_is_one_row() -> None:
    batches = equal_length(sessions_of([5, 5, 9]), 100, 4, np.arange(3))
    (clicks,) = (batches.clicks(step).tolist() for step in range(len(batches)))
    assert clicks == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14], [14, 15, 16, 17, 18]]


def test_a_batch_comes_when_it_is_full_and_the_others_at_the_end() -> None:
    batches = equal_length(sessions_of([2, 3, 2, 3, 2]), 2, 9, np.array([1, 0, 2, 4, 3]))
    assert [batches.clicks(step).tolist() for step in range(len(batches))] == [
        [[2, 3, 4]],
        [[0, 1], [5, 6]],
        [[7, 8, 9]],
        [[10, 11]],
    ]
