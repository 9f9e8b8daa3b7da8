"""Notices parts of the Kafka client that have ended or wait for ever, and measures what `/health` tells.

aiokafka runs its group coordination and its fetches as tasks that nobody awaits. If one of them ends, the worker would
live on and answer nothing.
"""

import asyncio
from typing import Any, NoReturn, Protocol

from aiokafka.errors import KafkaError
from faust.types import TP

from messaging.clients import broker_error
from messaging.failures import passes
from schemas.errors import BrokerError
from schemas.settings import Settings
from worker.delivery.consumer_thread import ConsumerThread
from worker.delivery.log_watch import LogWatch
from worker.delivery.outage import Outage

LOOK_SECONDS = 1.0

STUCK_SECONDS = 30.0
"""A part that fails, or a partition whose clicks wait, is reported as ill after this long."""

HANGING_SECONDS = 60.0
"""After this long without a turn, a thread's loop is dead."""


class WatchedApp(Protocol):
    """What is used of the app: its consumer and tables are Faust's."""

    settings: Settings
    outage: Outage
    should_stop: bool
    rebalancing: bool
    consumer: Any
    tables: Any
    log_watch: LogWatch

    def consumer_thread(self) -> ConsumerThread | None:
        """The thread that talks to the broker; None until it is started."""
        ...

    def click_partitions(self) -> list[TP]:
        """The partitions of the clicks topic that are assigned to this worker."""
        ...

    def fail(self, error: BaseException) -> NoReturn:
        """End the process with one line."""
        ...


async def watch(app: WatchedApp) -> None:
    """Look after the client until the worker stops. A dead part ends the process with one line."""
    while not app.should_stop:
        await asyncio.sleep(LOOK_SECONDS)
        thread = app.consumer_thread()
        if thread is not None:
            thread.thread_loop.call_soon_threadsafe(thread.turn)
            dead = thread.dead_part()
            if dead is not None and not app.should_stop:
                if isinstance(dead, KafkaError) and passes(dead):
                    await thread.call_thread(thread.take_error)
                else:
                    app.fail(_death(app, dead))
            _look_at_progress(app, thread)
        app.outage.look(thread is not None and app.consumer.is_member())


def _look_at_progress(app: WatchedApp, thread: ConsumerThread) -> None:
    progress = app.consumer.progress
    if app.rebalancing or not app.tables.actives_ready or not app.consumer.is_member():
        progress.excuse()
        return
    for tp in app.click_partitions():
        progress.look(tp, thread.position_of(tp), thread.end_of(tp))


def ill_health(app: WatchedApp) -> str | None:
    """Why clicks are not answered at present, in one line; None if they are, or if there are none for this worker."""
    if app.consumer_thread() is None:
        return "the worker is starting"
    if app.should_stop:
        return "the worker is stopping"
    if app.log_watch.trouble is not None:
        return app.log_watch.trouble
    if not app.consumer.is_member():
        return f"no heartbeat was acknowledged within {app.settings.group_timeout.total_seconds():g} s"
    if app.rebalancing:
        return "the consumer group is being rebalanced"
    if not app.tables.actives_ready:
        return "session states are being recovered"
    failing = app.outage.longest()
    if failing is not None and failing[1] > STUCK_SECONDS:
        return f"{failing[0]} for {failing[1]:.0f} s"
    stuck = app.consumer.progress.stuck()
    if stuck is not None and stuck[1] > STUCK_SECONDS:
        return f"clicks of partition {stuck[0].partition} have been waiting for {stuck[1]:.0f} s"
    return None


def dead_loop(app: WatchedApp) -> str | None:
    """The event loop that does not run any more; None if all run, or are not started yet."""
    thread = app.consumer_thread()
    if thread is not None and thread.seconds_since_turn > HANGING_SECONDS:
        return "the thread that talks to Kafka hangs"
    return None


def _death(app: WatchedApp, dead: BaseException | str) -> BrokerError:
    what = f"worker of consumer group {app.settings.app_id!r}"
    if isinstance(dead, str):
        return BrokerError(f"{what}: the Kafka client does not work any more ({dead}): start the worker again")
    return broker_error(dead, app.settings, what)
