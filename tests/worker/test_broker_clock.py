"""The broker's clock: what a wrong, late or jumping clock of the worker's machine does to it."""

import logging

import pytest

from worker.delivery.broker_clock import BrokerClock

HOUR = 3600.0


class Machine:
    """A machine whose clock can be set, and whose monotonic clock cannot."""

    def __init__(self, wrong_by: float = 0.0) -> None:
        self.wrong_by = wrong_by
        self.now = 1_000_000.0
        self.clock = BrokerClock(lambda: self.now + self.wrong_by, lambda: self.now - 900_000)

    def acknowledge(self) -> None:
        self.clock.acknowledged(round(self.now * 1000))

    @property
    def ms(self) -> int:
        return round(self.now * 1000)


@pytest.mark.parametrize("wrong_by", [0.0, HOUR, -HOUR, 365 * 24 * HOUR])
def test_an_acknowledgement_tells_the_time_and_the_monotonic_clock_goes_on(wrong_by: float) -> None:
    machine = Machine(wrong_by)
    machine.acknowledge()
    machine.now += 1000
    assert machine.clock.now_ms() == machine.clock.surely_ms() == machine.ms
    machine.wrong_by += HOUR
    assert machine.clock.now_ms() == machine.clock.surely_ms() == machine.ms


def test_before_an_acknowledgement_no_time_is_sure(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(-HOUR)
    assert machine.clock.surely_ms() is None
    assert machine.clock.now_ms() == machine.ms - HOUR * 1000
    machine.clock.reached(machine.ms - 60_000)
    machine.clock.reached(machine.ms - 90_000)
    assert machine.clock.now_ms() == machine.ms - 60_000
    assert not caplog.records


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_where_the_broker_does_not_stamp_a_jump_ahead_makes_nothing_older(jump: float) -> None:
    machine = Machine()
    machine.clock.acknowledged(None)
    machine.now += 100
    machine.wrong_by = jump
    assert machine.clock.surely_ms() == machine.ms + min(jump, 0) * 1000
    assert machine.clock.now_ms() == machine.ms + jump * 1000


def test_a_wrong_clock_is_told_once_and_that_it_is_right_again(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    for wrong_by in (0.0, 30.0, HOUR, HOUR + 1, -HOUR, 0.0, 1.0):
        machine.wrong_by = wrong_by
        machine.acknowledge()
        machine.acknowledge()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    assert [message.split(":")[0] for message in caplog.messages] == [
        "this machine's clock is 3600 s ahead of the broker's, which is used instead",
        "this machine's clock is 3600 s behind the broker's, which is used instead",
        "this machine's clock and the broker's agree again",
    ]
