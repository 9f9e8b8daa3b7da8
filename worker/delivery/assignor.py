"""Assigns the partitions of clicks and changelog together, whatever their present counts are."""

from collections.abc import Collection
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor import PartitionAssignor


class CoPartitionedAssignor(PartitionAssignor):
    """Faust's assignor, with equal partition counts for clicks and changelog.

    Faust assigns topics together if their counts are equal. When partitions are added to one of the two topics, it
    would give clicks to one worker and their sessions' states to another. Here both count as having the fewest of: the
    partitions of either topic, and NEXTCLICK_PARTITIONS of the group's leader. Others are not assigned.

    Members keep what they had, as far as it exists. A topic that is created again may have fewer partitions.
    """

    def assign(self, cluster: Any, member_metadata: Any) -> Any:
        """Assign the partitions of the group's topics to its members."""
        settings = self.app.settings
        together = (settings.clicks_topic, settings.changelog_topic)
        counts = _EqualCounts(cluster, together, settings.partitions)
        return super().assign(counts, {member: _existing(had, counts) for member, had in member_metadata.items()})


class _EqualCounts:
    """A cluster's metadata in which some topics have the same partitions."""

    def __init__(self, cluster: Any, topics: Collection[str], most: int) -> None:
        self._cluster, self._topics, self._most = cluster, topics, most

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """The partitions of a topic; None if it does not exist."""
        found: set[int] | None = self._cluster.partitions_for_topic(topic)
        if not found or topic not in self._topics:
            return found
        counts = [len(self._cluster.partitions_for_topic(each) or ()) for each in self._topics]
        return set(range(min(self._most, *(count for count in counts if count))))


def _existing(had: Any, counts: _EqualCounts) -> Any:
    """A member's metadata without the partitions that do not exist any more: Faust fails on them."""
    metadata = CoPartitionedAssignor._get_client_metadata(had)
    for assigned in (metadata.assignment.actives, metadata.assignment.standbys):
        for topic, partitions in assigned.items():
            assigned[topic] = sorted(set(partitions) & (counts.partitions_for_topic(topic) or set()))
    return ConsumerProtocolMemberMetadata(had.version, had.subscription, metadata.dumps())
