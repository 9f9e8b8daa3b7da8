"""The lease on a model name, without a Kafka: who gets it, when it is lost, and that it is given back."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import GroupAuthorizationFailedError, IllegalGenerationError, KafkaConnectionError, KafkaError

from modelregistry import lease as module
from modelregistry.lease import Lease, Work
from schemas.errors import BrokerError, TrainingError
from schemas.settings import Settings

SETTINGS = Settings(_env_file=None, model_name="m", app_id="shop")
PARTITION = TopicPartition(SETTINGS.models_topic, 0)


class Group:
    """aiokafka's consumer, as far as the lease uses it. It gets the partition after some looks at the assignment."""

    def __init__(self, looks: int = 3) -> None:
        self.looks, self.options = looks, dict[str, Any]()
        self.start_error: Exception | None = None
        self.poll_error: Exception | None = None
        self.commit_errors: list[KafkaError] = []
        self.commits = self.stops = 0

    def __call__(self, _settings: Any, _role: str, **options: Any) -> "Group":
        self.options = options
        return self

    def subscribe(self, topics: list[str]) -> None:
        assert topics == [SETTINGS.models_topic]

    async def start(self) -> None:
        if self.start_error is not None:
            raise self.start_error

    def assignment(self) -> set[TopicPartition]:
        self.looks -= 1
        return {PARTITION} if self.looks < 0 else set()

    async def getmany(self, timeout_ms: int) -> dict[Any, Any]:
        if self.poll_error is not None:
            raise self.poll_error
        await asyncio.sleep(timeout_ms / 1e6)
        return {}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        assert list(offsets) == [PARTITION]
        self.commits += 1
        if self.commit_errors:
            raise self.commit_errors.pop(0)

    async def stop(self) -> None:
        self.stops += 1


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    group = Group()
    monkeypatch.setattr(module, "new_consumer", group)
    return group


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of the lease, which pass at once; the loop's clock counts them."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pass_at_once(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    loop = SimpleNamespace(time=lambda: sum(pauses))
    stub = SimpleNamespace(
        sleep=pass_at_once, get_running_loop=lambda: loop, wait_for=asyncio.wait_for, create_task=asyncio.create_task
    )
    monkeypatch.setattr(module, "asyncio", stub)
    return pauses


@pytest.mark.usefixtures("clock")
async def test_who_gets_the_partition_holds_the_lease_and_gives_it_back(group: Group) -> None:
    async with Lease(SETTINGS) as lease:
        assert group.options["group_id"] == "shop-retrain-m"
        await lease.check()
        assert (group.commits, group.stops) == (1, 0)
        assert not lease._polling.done()  # type: ignore[union-attr]
    assert group.stops == 1
    with pytest.raises(asyncio.CancelledError):
        await lease._polling  # type: ignore[misc]


@pytest.mark.parametrize(("what", "work"), [("live", "decision about"), ("refresh", "refresh of")])
async def test_a_lease_that_another_process_holds_is_waited_for_while_that_one_may_have_crashed(
    what: Work, work: str, group: Group, clock: list[float]
) -> None:
    group.looks = 10**6
    with pytest.raises(TrainingError, match=rf"another {work} model 'm' is under way .*shop-{what}-m"):
        async with Lease(SETTINGS, what):
            pytest.fail("entered")
    assert sum(clock) > group.options["session_timeout_ms"] / 1000  # so long a crashed holder keeps it
    assert group.stops == 1


async def test_a_lease_is_not_lost_by_an_error_that_passes(group: Group, clock: list[float]) -> None:
    async with Lease(SETTINGS) as lease:
        clock.clear()
        group.commit_errors = [KafkaConnectionError("away"), IllegalGenerationError()]
        await lease.check()
        assert group.commits == 3
        assert clock == [0.5, 0.5]


async def test_a_lease_that_was_lost_is_told(group: Group, clock: list[float]) -> None:
    async with Lease(SETTINGS) as lease:
        group.looks = 10**6
        clock.clear()
        with pytest.raises(TrainingError, match=r"the lease on model 'm' was lost.*nothing is published"):
            await lease.check()
        assert sum(clock) >= 30
        assert group.commits == 0


@pytest.mark.usefixtures("clock")
async def test_a_refusal_that_stays_is_told_at_once(group: Group) -> None:
    async with Lease(SETTINGS) as lease:
        group.commit_errors = [GroupAuthorizationFailedError("shop-retrain-m")]
        with pytest.raises(BrokerError, match="the lease cannot be checked"):
            await lease.check()
        assert group.commits == 1


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("error", [GroupAuthorizationFailedError("g"), KafkaConnectionError("away")])
async def test_a_group_that_cannot_be_joined_is_told(group: Group, error: Exception) -> None:
    group.start_error = error
    with pytest.raises(BrokerError):
        async with Lease(SETTINGS):
            pytest.fail("entered")
    assert group.stops == 1


@pytest.mark.usefixtures("clock")
async def test_a_member_that_is_refused_while_it_waits_ends(group: Group) -> None:
    group.looks = 10**6
    group.poll_error = GroupAuthorizationFailedError("g")
    with pytest.raises(BrokerError, match="the lease's consumer group cannot be joined"):
        async with Lease(SETTINGS):
            pytest.fail("entered")


def test_a_member_that_joins_does_not_take_the_lease_from_its_holder() -> None:
    holder = module._holder_class()

    def assigned(**members: bytes) -> list[str]:
        about = {
            name: ConsumerProtocolMemberMetadata(0, [SETTINGS.models_topic], bytes(bytearray(data)))
            for name, data in members.items()
        }
        found = holder.assign(None, about)
        assert set(found) == set(members)
        return [name for name, assignment in found.items() if assignment.assignment]

    assert assigned(a=b"", b=b"holding", c=b"") == ["b"]
    assert assigned(b=b"", a=b"") == ["a"]
    assert assigned(c=b"holding", b=b"holding") == ["b"]
    assert holder.metadata([SETTINGS.models_topic]).user_data == b""
    holder.holding = True
    assert holder.metadata([SETTINGS.models_topic]).user_data == b"holding"
    assert module._holder_class().metadata(["t"]).user_data == b""  # of another lease in the same process


async def test_the_client_is_quiet_while_the_lease_is_held(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would log several lines a second while no broker answers."""
    monkeypatch.setattr(module, "new_consumer", Group())
    async with Lease(SETTINGS):
        logging.getLogger("aiokafka").error("Unable connect to node")
    assert caplog.text == ""
    logging.getLogger("aiokafka").error("another client's")
    assert "another client's" in caplog.text
