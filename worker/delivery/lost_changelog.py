"""Changelog partitions that lost what the states on the disk were written to.

The topic was deleted and created again, or truncated. The sessions go on from the states on this disk, and are written
to the changelog again, so that the next owner of the partition has them too. States that the changelog has got
meanwhile are merged: of two states of a session the one with the higher click offset is kept.

Where there are no states on the disk either, sessions begin anew, and a line says so.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.errors import RebalanceInProgressError

from schemas.settings import Settings
from worker.delivery.publisher import Publisher
from worker.delivery.store import SessionTable

log = logging.getLogger(__name__)

STATES_AT_ONCE = 2000
"""States that are read and produced together: about 1 MB."""


class Group(Protocol):
    """What is used of the consumer."""

    answered_up_to: Callable[[Iterable[int]], Awaitable[Mapping[int, int]]]
    is_member: Callable[[], bool]


class RecoveringApp(Protocol):
    """What is used of the app."""

    settings: Settings
    sessions: SessionTable
    changelog: Publisher
    consumer: Group
    consumer_generation_id: int


async def lost_changelogs(
    app: RecoveringApp, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], topic_id: str
) -> Collection[TopicPartition]:
    """The changelog partitions that must be read from their beginning, and written again from the disk.

    Args:
        app: has the states.
        begins, ends: of the partitions of this worker.
        topic_id: of the changelog topic now; empty if unknown.
    """
    store, lost, empty = app.sessions.data, [], []
    for tp, end in ends.items():
        stored, written_to = app.sessions.persisted_offset(tp), store.changelog_id(tp.partition)
        if stored is None and begins[tp] >= end:
            empty.append(tp)
        elif stored is not None and (stored >= end or written_to not in (None, topic_id)):
            lost.append(tp)
    answered = await app.consumer.answered_up_to(tp.partition for tp in (*lost, *empty))
    _tell_sessions_lost(app, [tp.partition for tp in empty if answered.get(tp.partition)])
    kept = [tp for tp in lost if tp.partition in answered]
    for tp in kept:
        store.begin_anew(tp.partition)
        dropped = store.drop_unnamed(tp.partition) if topic_id else 0  # without topic ids no state names its log
        if dropped:
            log.warning("%s %d: %d states of an older version are dropped", tp.topic, tp.partition, dropped)
    for tp in lost:
        if tp not in kept:
            log.warning("the states on this disk of partition %d are of another group: not used", tp.partition)
            store.forget(tp.partition)
    return kept


async def write_again(app: RecoveringApp, lost: Collection[TopicPartition], generation: int) -> None:
    """Produce all states of some partitions to the changelog.

    Args:
        app: has the states.
        lost: the changelog partitions.
        generation: of the consumer group; nothing is written in a later one.

    Raises:
        RebalanceInProgressError: the partitions may belong to another worker.
        BrokerError: the broker refuses the states, and will refuse them again.
    """

    def may_go_on() -> bool:
        return app.consumer.is_member() and app.consumer_generation_id == generation

    count = 0
    for tp in lost:
        key: bytes | None = b""
        while key is not None:
            states, key = app.sessions.data.states(tp.partition, key, STATES_AT_ONCE)
            written = await app.changelog.publish(tp.topic, {tp.partition: states}, may_go_on)
            if written is None:
                raise RebalanceInProgressError("while states were written to the changelog")
            if states:
                app.sessions.data.write(tp.partition, [], written[tp.partition])
            count += len(states)
    if lost:
        log.warning(
            "topic %r was created again or truncated: %d states of sessions were written to it again, from this disk",
            app.settings.changelog_topic, count,
        )  # fmt: skip


def _tell_sessions_lost(app: RecoveringApp, partitions: Collection[int]) -> None:
    if partitions:
        log.warning(
            "topic %r has no state of partitions %s, and neither has this disk, although clicks were answered: their "
            "sessions begin anew", app.settings.changelog_topic, ", ".join(map(str, sorted(partitions))),
        )  # fmt: skip
