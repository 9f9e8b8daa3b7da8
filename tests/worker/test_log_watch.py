"""The watch over the clicks topic: what counts as another log, and what is told."""

from collections.abc import Collection
from types import SimpleNamespace

import pytest

from messaging.topic_identity import TopicIdentity
from schemas.settings import Settings
from worker.delivery import log_watch as module
from worker.delivery.log_watch import LogWatch, topic_trouble
from worker.delivery.outage import Outage
from worker.delivery.resume import PartitionLog, Sight

SETTINGS = Settings(_env_file=None, partitions=2)


class Watch(LogWatch):
    """A watch with simulated looks."""

    def __init__(self) -> None:
        super().__init__(SETTINGS, Outage())
        self.seen = SimpleNamespace(topic_id="A", partitions=2, ends={0: 10, 1: 10})
        self.read = {0: (PartitionLog("A", 5), 10), 1: (PartitionLog("A", 5), 8)}

    async def _look(self, partitions: Collection[int]) -> dict[int, Sight] | None:
        topic_id, ends = self.seen.topic_id, self.seen.ends
        self.identity = None if topic_id is None else TopicIdentity(topic_id, "C", self.seen.partitions)
        self._judge(self.identity)
        return None if topic_id is None else {n: Sight(topic_id, "C", 0, ends[n]) for n in partitions}

    async def called(self, looks: int = 1) -> list[str]:
        """What is called during this many looks."""
        calls: list[str] = []

        async def call(name: str) -> None:
            calls.append(name)

        for _ in range(looks):
            await self.check(lambda: self.read, lambda: call("begin anew"), lambda: call("topic changed"))
        return calls


@pytest.fixture
async def watch() -> Watch:
    watch = Watch()
    assert await watch.called(2) == ["topic changed"]  # the first look
    return watch


async def test_a_log_that_only_grows_is_the_same_log(watch: Watch) -> None:
    watch.seen.ends = {0: 500, 1: 10}
    watch.read[0] = (PartitionLog("A.3", 5), 400)
    assert await watch.called(3) == []


async def test_another_topic_id_is_another_log(watch: Watch) -> None:
    watch.seen.topic_id = "B"
    assert await watch.called() == ["topic changed", "begin anew"]
    watch.read = {}  # nothing is read during a rebalance
    assert await watch.called(3) == []


async def test_an_end_before_the_position_counts_when_it_is_seen_twice(watch: Watch) -> None:
    watch.seen.ends = {0: 9, 1: 10}
    assert await watch.called() == []
    watch.seen.ends = {0: 10, 1: 10}
    assert await watch.called() == []
    watch.seen.ends = {0: 9, 1: 10}
    assert await watch.called(2) == ["begin anew"]


async def test_a_topic_that_is_lost_or_has_other_partitions_is_told_with_what_to_do(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    assert watch.trouble is None
    watch.seen.topic_id = None
    assert await watch.called(3) == ["topic changed"]
    assert watch.trouble is not None
    assert "does not exist any more" in watch.trouble
    assert "`nextclick topics`" in watch.trouble
    watch.seen.topic_id, watch.seen.partitions = "A", 4
    assert await watch.called(3) == ["topic changed"]
    assert "clicks on partitions 2 to 3 are not answered; set NEXTCLICK_PARTITIONS=4" in watch.trouble
    watch.seen.partitions = 2
    await watch.called()
    assert watch.trouble is None
    assert len(caplog.records) == 3
    assert "as the settings say again" in caplog.records[-1].getMessage()


async def test_trouble_is_told_at_once_and_once_a_minute(
    watch: Watch, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.seen.topic_id = None
    told = []
    for now in (5.0, 8.0, 64.0, 65.0, 66.0, 124.9, 125.0):  # the machine has just started
        monkeypatch.setattr(module, "monotonic", lambda now=now: now)
        await watch.called()
        told.append(len(caplog.records))
    assert told == [1, 1, 1, 2, 2, 2, 3]


def test_the_partitions_of_the_settings_are_no_trouble() -> None:
    assert topic_trouble(SETTINGS, TopicIdentity("A", "C", 2)) is None
    assert "adds the missing ones" in (topic_trouble(SETTINGS, TopicIdentity("A", "C", 1)) or "")
