"""Watches the clicks topic: which incarnation of it exists, where its partitions end, and how many there are.

The group's consumer knows a topic by its name only. When a topic is deleted and created again, or truncated, it goes on
with the same positions in another log. This watch asks the broker at each start of reading, and every few seconds.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from messaging.clients import new_consumer, stop
from messaging.incarnations import TruncationWatch, topic_id_of, truncations_of
from messaging.topic_identity import TopicIdentity, topic_identity
from schemas.settings import Settings
from worker.delivery.outage import Outage
from worker.delivery.resume import PartitionLog, Sight

log = logging.getLogger(__name__)

LOOK = "the clicks topic cannot be looked at"

LOOK_SECONDS = 3.0
"""Pause between two looks: a request for metadata and one for end offsets."""

REMIND_SECONDS = 60.0
"""A trouble that lasts is told again after this time."""


class LogWatch:
    """Knows the clicks topic as the broker shows it.

    Attributes:
        identity: the topic at the last look; None before the first one, and while the topic does not exist.
        trouble: one line for people while the topic is not as the settings say; else None.
    """

    def __init__(self, settings: Settings, outage: Outage) -> None:
        self.identity: TopicIdentity | None = None
        self.trouble: str | None = None
        self._settings = settings
        self._outage = outage
        self._topic = settings.clicks_topic
        self._client: AIOKafkaConsumer | None = None
        self._starting = asyncio.Lock()
        self._told: dict[str, float] = {}
        self._truncation: TruncationWatch[int] = TruncationWatch()

    async def watch(
        self,
        reading: Callable[[], Mapping[int, tuple[PartitionLog, int]]],
        begin_anew: Callable[[], Awaitable[None]],
        topic_changed: Callable[[], Awaitable[None]],
    ) -> None:
        """Look every few seconds, for as long as the worker runs.

        Args:
            reading: partition → the log that is read and the next offset; empty while nothing is read.
            begin_anew: called when the log that is read does not exist any more.
            topic_changed: called when the topic disappears, comes back or has another number of partitions.
        """
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.check(reading, begin_anew, topic_changed)

    async def check(
        self,
        reading: Callable[[], Mapping[int, tuple[PartitionLog, int]]],
        begin_anew: Callable[[], Awaitable[None]],
        topic_changed: Callable[[], Awaitable[None]],
    ) -> None:
        """Look once; see `watch`."""
        before = self.identity
        positions = reading()  # before the end offsets are asked for, so that no end can lag behind
        try:
            sights = await self._look(list(positions))
        except (KafkaError, OSError) as error:
            self._outage.try_again(LOOK, error, self._settings)
            return
        if before != self.identity:
            await topic_changed()
        if sights is not None and self._is_another(positions, sights):
            await begin_anew()

    async def sights(self, partitions: Collection[int]) -> dict[int, Sight]:
        """The partitions as they are now. Waits until the topic exists and the broker answers."""
        while True:
            try:
                found = await self._look(partitions)
            except (KafkaError, OSError) as error:
                self._outage.try_again(LOOK, error, self._settings)
                found = None
            if found is not None:
                return found
            await asyncio.sleep(1.0)

    async def first_since(self, partition: int, timestamp: int) -> int | None:
        """Offset of the first record with this Kafka timestamp or a later one; None if there is none."""
        place = TopicPartition(self._topic, partition)
        while True:
            try:
                found = (await (await self._consumer()).offsets_for_times({place: max(timestamp, 0)}))[place]
            except (KafkaError, OSError) as error:
                self._outage.try_again(LOOK, error, self._settings)
                await asyncio.sleep(1.0)
            else:
                return None if found is None else int(found.offset)

    def tell(self, subject: str, line: str) -> None:
        """Log a line, once per subject."""
        if subject not in self._told:
            self._told[subject] = monotonic()
            log.warning("%s", line)

    def tell_began_anew(self, old: str, new: str) -> None:
        """Log, once, that what is stored belongs to an earlier log."""
        if truncations_of(new):
            return  # truncated, which is told when reading begins
        self.tell(
            f"began anew {new}",
            f"topic {self._topic!r} began anew: this one is {new or 'of an unknown id'}, offsets and session states "
            f"are of {old or 'an earlier one'}; all its clicks are answered, and sessions go on with their history",
        )

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await stop(self._client)

    async def _look(self, partitions: Collection[int]) -> dict[int, Sight] | None:
        """Look at the topic and some of its partitions; None if the topic, or one of them, does not exist."""
        consumer = await self._consumer()
        self.identity = identity = await topic_identity(consumer, self._topic)
        self._outage.worked(LOOK)
        self._judge(identity)
        if identity is None or any(number >= identity.partitions for number in partitions):
            return None
        places = [TopicPartition(self._topic, number) for number in partitions]
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        return {p.partition: Sight(identity.topic_id, identity.cluster_id, begins[p], ends[p]) for p in places}

    def _judge(self, identity: TopicIdentity | None) -> None:
        """Note, and tell at intervals, what is wrong with the topic."""
        before, self.trouble = self.trouble, topic_trouble(self._settings, identity)
        if before is not None and self.trouble is None:
            log.warning("topic %r is as the settings say again", self._topic)
        if self.trouble is not None:
            self._tell_trouble(self.trouble, self.trouble)

    def _tell_trouble(self, subject: str, line: str) -> None:
        """Log a line at most once a minute."""
        now = monotonic()
        if now - self._told.get(subject, now - REMIND_SECONDS) >= REMIND_SECONDS:
            self._told[subject] = now
            log.error("%s", line)

    def _is_another(self, positions: Mapping[int, tuple[PartitionLog, int]], sights: Mapping[int, Sight]) -> bool:
        """Whether the log that is read has gone: another topic id, or twice in a row an end before the position."""
        read = {number: offset for number, (_, offset) in positions.items()}
        truncated = self._truncation.truncated(read, {number: sight.end for number, sight in sights.items()})
        return truncated or any(
            known.name and sights[number].topic_id and topic_id_of(known.name) != sights[number].topic_id
            for number, (known, _) in positions.items()
        )

    async def _consumer(self) -> AIOKafkaConsumer:
        async with self._starting:
            if self._client is None:
                client = new_consumer(self._settings, "worker-watch")
                try:
                    await client.start()
                except BaseException:
                    await stop(client)
                    raise
                self._client = client
            return self._client


def topic_trouble(settings: Settings, identity: TopicIdentity | None) -> str | None:
    """One line on what to do if the clicks topic is not as the settings say; else None."""
    topic, wanted = settings.clicks_topic, settings.partitions
    if identity is None:
        return f"topic {topic!r} does not exist any more: no click can be answered; create it with `nextclick topics`"
    if identity.partitions > wanted:
        return (
            f"topic {topic!r} has {identity.partitions} partitions and NEXTCLICK_PARTITIONS={wanted}: clicks on "
            f"partitions {wanted} to {identity.partitions - 1} are not answered; set "
            f"NEXTCLICK_PARTITIONS={identity.partitions}, run `nextclick topics`, then restart every worker"
        )
    if identity.partitions < wanted:
        return (
            f"topic {topic!r} has {identity.partitions} partitions and NEXTCLICK_PARTITIONS={wanted}: "
            "`nextclick topics` adds the missing ones"
        )
    return None
