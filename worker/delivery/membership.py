"""The worker as a member of its consumer group: whether it still is one, and what it does where it cannot be one.

aiokafka's coordinator is watched from its own thread:

- The time of the last heartbeat that the broker acknowledged tells whether the group still counts this worker in.
- A static member (`NEXTCLICK_MEMBER_ID`) whose id another process takes over ends. aiokafka would take the id back, and
  the two would take it from each other for ever.
- A static member that comes back gets the assignment of its last run. If that does not fit the present settings, the
  member leaves the group and joins anew. aiokafka's coordinator would end, and nobody would notice.
"""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, NoReturn

from aiokafka.errors import KafkaError
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest

from schemas.errors import BrokerError, one_line
from schemas.settings import Settings

log = logging.getLogger(__name__)

MOST_ANEW = 3
"""After so many assignments in a row that cannot be used, the worker ends."""


class Membership:
    """Watches the coordinator of one consumer.

    Args:
        coordinator: of a started AIOKafkaConsumer.
        settings: group, time-out and member id.
        fail: ends the process.

    Attributes:
        last_heartbeat: when the last acknowledged heartbeat was sent, by the monotonic clock in seconds; 0 once the
            group has excluded this member.
    """

    def __init__(self, coordinator: Any, settings: Settings, fail: Callable[[BaseException], NoReturn]) -> None:
        self.last_heartbeat = 0.0
        self._coordinator, self._settings, self._fail = coordinator, settings, fail
        self._steady = False  # the last heartbeat was acknowledged
        self._anew = 0
        self._beat, self._rejoin = coordinator._do_heartbeat, coordinator._do_rejoin_group
        coordinator._do_heartbeat, coordinator._do_rejoin_group = self._heartbeat, self._rejoin_group

    def joined(self) -> None:
        """A completed join counts as a heartbeat."""
        self.last_heartbeat = monotonic()
        self._steady = True

    def lasts(self) -> bool:
        """Whether the group still counts this worker as a member, by the clock."""
        return monotonic() - self.last_heartbeat < self._settings.group_timeout.total_seconds()

    async def _heartbeat(self) -> bool:
        sent, lasted = monotonic(), self.lasts()
        acknowledged: bool = await self._beat()
        if acknowledged:
            self.last_heartbeat = sent
        elif self._coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID:  # the group knows this member no more
            self.last_heartbeat = 0.0
            if self._settings.member_id is not None and self._steady and lasted:
                self._fail(BrokerError(_replaced(self._settings)))
        self._steady = acknowledged
        return acknowledged

    async def _rejoin_group(self, subscription: Any) -> bool:
        try:
            joined: bool = await self._rejoin(subscription)
        except (AssertionError, ValueError) as error:  # from Faust's assignor, or from aiokafka's subscription
            self._anew += 1
            if self._anew > MOST_ANEW:
                raise
            log.warning(
                "consumer group %s gave this member an assignment that does not fit the settings (%s): leaving the "
                "group and joining it anew", self._settings.app_id, one_line(error)[:200],
            )  # fmt: skip
            await self._leave()
            return False
        self._anew = 0
        return joined

    async def _leave(self) -> None:
        """Leave the group, although aiokafka's static members never do."""
        coordinator = self._coordinator
        try:
            await coordinator._send_req(LeaveGroupRequest(coordinator.group_id, coordinator.member_id))
        except KafkaError as error:
            log.warning("could not leave consumer group %s: %r", self._settings.app_id, error)
            await asyncio.sleep(1)
        coordinator.reset_generation()


def _replaced(settings: Settings) -> str:
    return (
        f"consumer group {settings.app_id!r} has replaced this worker, because another process joined it with "
        f"NEXTCLICK_MEMBER_ID={settings.member_id!r}: give every worker an id of its own"
    )
