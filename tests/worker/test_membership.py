"""A member of the consumer group knows when it is none any more."""

from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from schemas.settings import Settings
from worker.delivery import membership as module
from worker.delivery.membership import MOST_ANEW, Membership


class Coordinator:
    """aiokafka's, as far as it is used: a heartbeat or a join does what the test prepared."""

    group_id = "nextclick"

    def __init__(self) -> None:
        self.member_id = "member-1"
        self.beats: list[bool] = []
        self.joins: list[bool | Exception] = []
        self.requests: list[Any] = []

    async def _do_heartbeat(self) -> bool:
        return self.beats.pop(0)

    async def _do_rejoin_group(self, _subscription: object) -> bool:
        outcome = self.joins.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _send_req(self, request: Any) -> None:
        self.requests.append(request)

    def reset_generation(self) -> None:
        self.member_id = ""


class Ended(Exception):
    """The process ended with a line."""


def fail(error: BaseException) -> NoReturn:
    raise Ended(str(error)) from error


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = 100.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(module, "monotonic", lambda: now)
    return advance


def member(member_id: str | None = None) -> tuple[Coordinator, Membership]:
    coordinator = Coordinator()
    settings = Settings(_env_file=None, member_id=member_id, group_timeout="8s")
    membership = Membership(coordinator, settings, fail)
    membership.joined()
    return coordinator, membership


async def test_a_member_is_one_until_the_time_out_after_its_last_heartbeat(time: Callable[[float], None]) -> None:
    coordinator, membership = member()
    coordinator.beats = [True, False]
    time(6)
    await coordinator._do_heartbeat()
    time(6)
    await coordinator._do_heartbeat()
    assert membership.lasts()
    time(3)
    assert not membership.lasts()


async def test_a_member_that_the_group_does_not_know_is_none_at_once() -> None:
    coordinator, membership = member()
    coordinator.beats = [True, False]
    await coordinator._do_heartbeat()
    coordinator.member_id = ""
    await coordinator._do_heartbeat()
    assert not membership.lasts()
    membership.joined()
    assert membership.lasts()


async def test_a_static_member_whose_id_another_process_took_over_ends() -> None:
    coordinator, _ = member("worker-1")
    coordinator.beats = [True, False]
    await coordinator._do_heartbeat()
    coordinator.member_id = ""
    with pytest.raises(Ended, match=r"another process joined it with NEXTCLICK_MEMBER_ID='worker-1'"):
        await coordinator._do_heartbeat()


async def test_a_static_member_that_slept_or_lost_its_broker_joins_again(time: Callable[[float], None]) -> None:
    coordinator, membership = member("worker-1")
    time(9)  # the group has given its partitions to others, and forgotten it
    coordinator.beats, coordinator.member_id = [False], ""
    await coordinator._do_heartbeat()
    membership.joined()
    coordinator.member_id, coordinator.beats = "member-2", [False]  # no answer
    await coordinator._do_heartbeat()
    coordinator.member_id, coordinator.beats = "", [False]  # the broker is back, without the group's last members
    await coordinator._do_heartbeat()
    assert not membership.lasts()


@pytest.mark.parametrize("error", [AssertionError("http://a:1 != http://a:2"), ValueError("not subscribed")])
async def test_a_member_whose_assignment_is_of_its_last_run_leaves_and_joins_anew(error: Exception) -> None:
    coordinator, _ = member("worker-1")
    coordinator.joins = [error, True]
    assert await coordinator._do_rejoin_group(None) is False
    assert coordinator.member_id == ""
    assert len(coordinator.requests) == 1
    assert await coordinator._do_rejoin_group(None) is True


async def test_a_member_that_never_gets_an_assignment_it_can_use_ends() -> None:
    coordinator, _ = member()
    coordinator.joins = [ValueError("no")] * (MOST_ANEW + 1)
    for _attempt in range(MOST_ANEW):
        assert await coordinator._do_rejoin_group(None) is False
    with pytest.raises(ValueError, match="no"):
        await coordinator._do_rejoin_group(None)
