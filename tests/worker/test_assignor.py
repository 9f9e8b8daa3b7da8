"""Clicks and changelog keep equal partition counts in an assignment, whatever their topics have."""

import pytest

from worker.delivery.assignor import _EqualCounts


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
