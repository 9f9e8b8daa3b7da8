"""Which partitions of the changelog have lost the states on a disk, without a Kafka."""

from collections.abc import Iterable
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from faust.types import TP

from schemas.settings import Settings
from worker.delivery.lost_changelog import lost_changelogs
from worker.delivery.store import INCOMPLETE

PLACE = TopicPartition("changelog", 3)


class Disk:
    """The states of one partition, and what is done to them."""

    def __init__(self, stored: int | None, written_to: str | None) -> None:
        self.stored, self.written_to = stored, written_to
        self.done: list[str] = []
        self.data = self

    def persisted_offset(self, tp: TP) -> int | None:
        assert tp == PLACE
        return self.stored

    def changelog_id(self, _partition: int) -> str | None:
        return self.written_to

    def begin_anew(self, _partition: int) -> None:
        self.done.append("begun anew")

    def drop_unnamed(self, _partition: int) -> int:
        self.done.append("old states dropped")
        return 2

    def forget(self, _partition: int) -> None:
        self.done.append("all forgotten")


async def lost(disk: Disk, begin: int, end: int, *, answered: bool = True, topic_id: str = "new") -> bool:
    """Whether the states are written again."""

    async def answered_up_to(partitions: Iterable[int]) -> dict[int, int]:
        return {number: 90 for number in partitions if answered}

    app = SimpleNamespace(
        settings=Settings(_env_file=None), sessions=disk, consumer=SimpleNamespace(answered_up_to=answered_up_to)
    )
    return PLACE in await lost_changelogs(app, {PLACE: begin}, {PLACE: end}, topic_id)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stored", "written_to", "end"),
    [
        (9, "new", 10),
        (9, None, 10),  # written by an older version
        (None, None, 10),  # an empty disk
    ],
)
async def test_a_changelog_that_has_what_the_disk_has_goes_on(
    stored: int | None, written_to: str | None, end: int
) -> None:
    disk = Disk(stored, written_to)
    assert not await lost(disk, 0, end)
    assert disk.done == []


@pytest.mark.parametrize(
    ("stored", "written_to", "end"),
    [
        (9, "new", 9),  # truncated
        (9, None, 5),
        (9, "old", 10),  # created again, and filled
        (-1, INCOMPLETE, 10),  # not all were written again before a crash
    ],
)
async def test_states_that_the_changelog_has_lost_are_written_again(
    stored: int, written_to: str | None, end: int
) -> None:
    disk = Disk(stored, written_to)
    assert await lost(disk, 0, end)
    assert disk.done == ["begun anew", "old states dropped"]


async def test_where_the_broker_knows_no_topic_ids_states_that_name_no_log_are_kept() -> None:
    disk = Disk(-1, INCOMPLETE)
    assert await lost(disk, 0, 10, topic_id="")
    assert disk.done == ["begun anew"]
    assert not await lost(Disk(9, ""), 0, 10, topic_id="")


async def test_states_of_a_group_that_has_answered_nothing_are_not_used() -> None:
    disk = Disk(9, "old")
    assert not await lost(disk, 0, 10, answered=False)
    assert disk.done == ["all forgotten"]


@pytest.mark.parametrize(
    ("begin", "end", "answered", "said"),
    [(0, 0, True, True), (7, 7, True, True), (0, 0, False, False), (0, 7, True, False)],
)
async def test_that_sessions_begin_anew_is_said_where_clicks_were_answered_and_no_state_is_left(
    begin: int, end: int, answered: bool, said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert not await lost(Disk(None, None), begin, end, answered=answered)
    assert ("has no state of partitions 3, and neither has this disk" in caplog.text) == said
