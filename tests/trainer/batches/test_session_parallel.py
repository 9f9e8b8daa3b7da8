import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clicklog.sessions import Sessions
from trainer.batches.session_parallel import Schedule, session_order, session_parallel


def sessions_of_lengths(lengths: list[int]) -> Sessions:
    """Every click has a different item, so that a pair identifies its clicks."""
    return Sessions(np.arange(sum(lengths)), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def naive(lengths: list[int], lanes: int) -> list[list[tuple[int, int, int, bool]]]:
    """The paper's algorithm, lane by lane: for each step the (lane, input, target, reset) of every active lane."""
    waiting = [list(range(sum(lengths[:s]), sum(lengths[: s + 1]))) for s in range(len(lengths))]
    playing: list[list[int]] = [[] for _ in range(lanes)]
    steps = []
    while True:
        step = []
        for lane in range(lanes):
            reset = len(playing[lane]) < 2
            if reset:
                if not waiting:
                    continue
                playing[lane] = waiting.pop(0)
            step.append((lane, playing[lane][0], playing[lane][1], reset))
            playing[lane] = playing[lane][1:]
        if not step:
            return steps
        steps.append(step)


def unrolled(schedule: Schedule) -> list[list[tuple[int, int, int, bool]]]:
    rows = list(
        zip(
            schedule.lane.tolist(),
            schedule.input.tolist(),
            schedule.target.tolist(),
            schedule.reset.tolist(),
            strict=True,
        )
    )
    return [rows[begin:end] for begin, end in zip(schedule.steps[:-1], schedule.steps[1:], strict=True)]


@given(lengths=st.lists(st.integers(2, 9), max_size=40), lanes=st.integers(1, 50))
def test_the_schedule_is_the_paper_s_algorithm(lengths: list[int], lanes: int) -> None:
    assert unrolled(session_parallel(sessions_of_lengths(lengths), lanes)) == naive(lengths, lanes)


@given(lengths=st.lists(st.integers(2, 9), min_size=1, max_size=40), lanes=st.integers(1, 50))
def test_every_pair_is_trained_once_with_the_state_of_its_own_session(lengths: list[int], lanes: int) -> None:
    sessions = sessions_of_lengths(lengths)
    schedule = session_parallel(sessions, lanes)
    firsts, lasts = set(sessions.offsets[:-1].tolist()), set((sessions.offsets[1:] - 1).tolist())
    assert sorted(schedule.input.tolist()) == sorted(set(range(sum(lengths))) - lasts)
    state: dict[int, int | None] = {}
    for step in unrolled(schedule):
        assert step, "a step without events"
        assert len({lane for lane, *_ in step}) == len(step) <= lanes
        for lane, clicked, target, reset in step:
            assert target == clicked + 1
            assert reset == (clicked in firsts)
            assert reset or state[lane] == clicked, "the lane's state is another session's"
            state[lane] = target


def test_fewer_sessions_than_lanes() -> None:
    schedule = session_parallel(sessions_of_lengths([3, 2]), 32)
    assert unrolled(schedule) == [[(0, 0, 1, True), (1, 3, 4, True)], [(0, 1, 2, False)]]
    assert schedule.lanes == 32


def test_orders_of_sessions() -> None:
    sessions = sessions_of_lengths([3, 2, 4, 2])
    assert session_order(sessions, "time", 0, 1).tolist() == [0, 1, 2, 3]
    assert session_order(sessions, "length", 0, 1).tolist() == [2, 0, 1, 3]
    epochs = [session_order(sessions_of_lengths([2] * 50), "random", 0, epoch).tolist() for epoch in (1, 1, 2)]
    assert epochs[0] == epochs[1] != epochs[2]
    assert sorted(epochs[2]) == list(range(50))
    assert unrolled(session_parallel(sessions, 1, np.array([3, 0, 1, 2])))[0] == [(0, 9, 10, True)]
