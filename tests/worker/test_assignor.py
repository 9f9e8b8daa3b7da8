"""Clicks and changelog keep equal partition counts in an assignment, whatever their topics have."""

from types import SimpleNamespace

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata

from worker.delivery.assignor import CoPartitionedAssignor, _EqualCounts


class Cluster:
    def __init__(self, **counts: int) -> None:
        self.counts = counts

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.counts[topic])) if topic in self.counts else None


@pytest.mark.parametrize(
    ("clicks", "changelog", "settings", "assigned"),
    [(2, 2, 2, 2), (4, 2, 2, 2), (4, 2, 4, 2), (4, 4, 2, 2), (4, 4, 4, 4), (1, 2, 2, 1)],
)
def test_both_topics_count_as_the_smaller_one(clicks: int, changelog: int, settings: int, assigned: int) -> None:
    seen = _EqualCounts(Cluster(clicks=clicks, changelog=changelog, other=7), ("clicks", "changelog"), settings)
    assert [seen.partitions_for_topic(topic) for topic in ("clicks", "changelog")] == [set(range(assigned))] * 2
    assert seen.partitions_for_topic("other") == set(range(7))


def test_a_topic_that_does_not_exist_has_no_partitions() -> None:
    seen = _EqualCounts(Cluster(changelog=2), ("clicks", "changelog"), 4)
    assert seen.partitions_for_topic("clicks") is None
    assert seen.partitions_for_topic("changelog") == {0, 1}


def member(url: str, *partitions: int) -> ConsumerProtocolMemberMetadata:
    """A member of the group that has these partitions."""
    had = {"clicks": list(partitions), "changelog": list(partitions)}
    metadata = ClientMetadata(
        assignment=ClientAssignment(actives=had, standbys={}), url=url, changelog_distribution={}, topic_groups={}
    )
    return ConsumerProtocolMemberMetadata(4, ["clicks", "changelog"], metadata.dumps())


@pytest.mark.parametrize("had", [((0, 1, 2, 3),), ((2, 3), (0, 1)), ((3, 1), (2, 0)), ((1,), (2,), (0, 3))])
@pytest.mark.parametrize("left", [1, 2, 3])
def test_members_share_what_is_left_of_a_topic_with_fewer_partitions(had: tuple[tuple[int, ...]], left: int) -> None:
    app = SimpleNamespace(
        settings=SimpleNamespace(clicks_topic="clicks", changelog_topic="changelog", partitions=4),
        tables=SimpleNamespace(changelog_topics={"changelog"}, data={}),
        tracer=None,
        sensors=SimpleNamespace(
            on_assignment_start=lambda _: {},
            on_assignment_error=lambda *_: None,
            on_assignment_completed=lambda *_: None,
        ),
    )
    members = {f"m{number}": member(f"http://m{number}", *partitions) for number, partitions in enumerate(had)}
    found = CoPartitionedAssignor(app).assign(Cluster(clicks=left, changelog=4), members)  # type: ignore[arg-type]
    for topic in ("clicks", "changelog"):
        given = [
            number
            for each in found.values()
            for name, numbers in each.assignment
            if name == topic
            for number in numbers
        ]
        assert sorted(given) == list(range(left))
