"""`/health` and `/live`: what a worker says of itself, and dead parts that end it."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from aiokafka.errors import InvalidSessionTimeoutError, KafkaConnectionError
from faust.types import TP

from schemas.settings import Settings
from worker.delivery import watchdog
from worker.delivery.app import DeliveryApp
from worker.delivery.log_watch import LogWatch
from worker.delivery.outage import Outage
from worker.delivery.progress import Progress
from worker.delivery.watchdog import _look_at_progress, dead_loop, ill_health, watch

TP0 = TP("clicks", 0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Ended(Exception):
    """The process ended with a line."""


@dataclass
class Thread:
    """The thread that talks to Kafka."""

    dead: BaseException | str | None = None
    position: int | None = 0
    end: int | None = 0
    seconds_since_turn: float = 0.0
    taken: int = 0
    thread_loop: Any = field(default_factory=lambda: SimpleNamespace(call_soon_threadsafe=lambda call: call()))

    def turn(self) -> None:
        """Nothing to do."""

    def dead_part(self) -> BaseException | str | None:
        return self.dead

    async def take_error(self) -> None:
        self.dead, self.taken = None, self.taken + 1

    async def call_thread(self, function: Any) -> None:
        await function()

    def position_of(self, _tp: TP) -> int | None:
        return self.position

    def end_of(self, _tp: TP) -> int | None:
        return self.end


class App:
    """A worker with one partition that answers clicks."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.settings = Settings(_env_file=None)
        self.outage = Outage(self.clock)
        self.log_watch = LogWatch(self.settings, self.outage)
        self.should_stop = self.rebalancing = False
        self.member = True
        self.consumer = SimpleNamespace(progress=Progress(self.clock), is_member=lambda: self.member)
        self.tables = SimpleNamespace(actives_ready=True)
        self.thread: Any = Thread()
        self.assigned = [TP0]

    def consumer_thread(self) -> Any:
        return self.thread

    def click_partitions(self) -> list[TP]:
        return self.assigned

    def fail(self, error: BaseException) -> NoReturn:
        raise Ended(str(error)) from error

    def pass_time(self, seconds: int) -> None:
        """The watchdog looks once a second."""
        for _ in range(seconds):
            self.clock.now += 1
            _look_at_progress(self, self.thread)


@pytest.fixture
def app() -> App:
    return App()


def test_a_worker_that_has_nothing_to_do_is_healthy(app: App) -> None:
    app.pass_time(120)
    assert ill_health(app) is None


def test_a_topic_that_is_not_as_the_settings_say_is_ill_health(app: App) -> None:
    app.log_watch.trouble = "topic 'clicks' has 4 partitions and NEXTCLICK_PARTITIONS=2"
    assert ill_health(app) == app.log_watch.trouble


def test_a_standby_without_partitions_is_healthy(app: App) -> None:
    app.assigned = []
    app.pass_time(120)
    assert ill_health(app) is None


def test_a_backlog_that_is_worked_off_is_healthy(app: App) -> None:
    app.thread.end = 1_000_000
    for _ in range(10):
        app.pass_time(20)
        app.thread.position += 500
        app.consumer.progress.fetched(TP0, app.thread.position)
        app.consumer.progress.stored(TP0, app.thread.position)
    assert ill_health(app) is None


def test_clicks_that_nobody_fetches_are_reported(app: App) -> None:
    app.pass_time(1)
    app.thread.end = 5
    app.pass_time(30)
    assert ill_health(app) is None
    app.pass_time(1)
    assert ill_health(app) == "clicks of partition 0 have been waiting for 31 s"


def test_clicks_that_are_fetched_and_not_answered_are_reported(app: App) -> None:
    app.thread.position = app.thread.end = 5
    app.consumer.progress.stored(TP0, 2)
    app.consumer.progress.fetched(TP0, 5)
    app.pass_time(31)
    assert ill_health(app) == "clicks of partition 0 have been waiting for 31 s"
    app.consumer.progress.stored(TP0, 5)
    assert ill_health(app) is None


def test_a_broker_that_says_nothing_of_a_partition_is_reported(app: App) -> None:
    app.pass_time(1)
    app.thread.end = None
    app.pass_time(31)
    assert ill_health(app) == "clicks of partition 0 have been waiting for 31 s"


def test_clicks_may_wait_for_a_recovery_and_30_seconds_more(app: App) -> None:
    app.pass_time(1)
    app.thread.end, app.tables.actives_ready = 5, False
    app.pass_time(100)
    app.tables.actives_ready = True
    app.pass_time(30)
    assert ill_health(app) is None
    app.pass_time(1)
    assert ill_health(app) == "clicks of partition 0 have been waiting for 31 s"


def test_a_partition_that_went_to_another_worker_is_no_concern(app: App) -> None:
    app.thread.end = 5
    app.pass_time(31)
    app.assigned = []
    app.consumer.progress.forget([TP0])
    assert ill_health(app) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"thread": None}, "the worker is starting"),
        ({"member": False}, "no heartbeat was acknowledged within 8 s"),
        ({"rebalancing": True}, "the consumer group is being rebalanced"),
        ({"tables": SimpleNamespace(actives_ready=False)}, "session states are being recovered"),
    ],
)
def test_a_worker_that_answers_nothing_says_why(app: App, change: dict[str, Any], reason: str) -> None:
    for name, value in change.items():
        setattr(app, name, value)
    assert ill_health(app) == reason


def test_a_retry_older_than_30_seconds_is_reported(app: App) -> None:
    app.outage.failed("nothing can be written to topic 'recommendations'", "no leader")
    app.pass_time(30)
    assert ill_health(app) is None
    app.pass_time(1)
    assert ill_health(app) == "nothing can be written to topic 'recommendations' for 31 s"


def test_a_process_is_live_while_its_loops_run(app: App) -> None:
    assert dead_loop(app) is None
    app.thread.seconds_since_turn = 61
    assert dead_loop(app) == "the thread that talks to Kafka hangs"
    app.thread = None
    assert dead_loop(app) is None


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.0)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("dead", "line"),
    [
        ("its fetcher ended", r"the Kafka client does not work any more \(its fetcher ended\): start the worker again"),
        (InvalidSessionTimeoutError(), r"set NEXTCLICK_GROUP_TIMEOUT to a time between the broker's group.min"),
    ],
)
async def test_a_dead_part_ends_the_worker_with_one_line(app: App, dead: Any, line: str) -> None:
    app.thread.dead = dead
    with pytest.raises(Ended, match=line):
        await asyncio.wait_for(watch(app), 5)


@pytest.mark.usefixtures("quickly")
async def test_after_an_error_that_passes_the_group_is_joined_again(app: App) -> None:
    app.thread.dead = KafkaConnectionError("away")
    watching = asyncio.create_task(watch(app))
    while not app.thread.taken:
        await asyncio.sleep(0)
    app.should_stop = True
    await asyncio.wait_for(watching, 5)


async def test_a_task_that_was_interrupted_ends_the_worker_unless_it_stops(app: App) -> None:
    task = asyncio.create_task(asyncio.sleep(60), name="models")
    task.cancel()
    await asyncio.wait([task])
    with pytest.raises(Ended, match=r"a part of the worker was interrupted \(models\): start the worker again"):
        DeliveryApp.fail_with(app, task)  # type: ignore[arg-type]
    app.should_stop = True
    DeliveryApp.fail_with(app, task)  # type: ignore[arg-type]
