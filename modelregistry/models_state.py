"""The state of one model name, from the messages of the models topic.

The topic is compacted and has one partition. All keys begin with the model's name:

    {name}                                  the announcement of the serving version
    {name}/announced/{version}              the newest announcement of each version, kept for a rollback; no value: of
                                            a refresh that is no longer needed
    {name}/shadow                           the version that is scored next to the serving one; no value: none
    {name}/decision/{id}                    why a model was published, kept, promoted, …
    {name}/live/{serving}/{shadow}/{worker} one worker's counts for both network versions on the same clicks

A refresh is a new version with the network of an earlier one. Evidence, rollbacks and retention count networks, each by
its network version: the version that the network was trained as (`ModelAnnouncement.network_version`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from schemas.announcement import ANNOUNCED, SHADOW, ModelAnnouncement
from schemas.decision import DECISION, Decision
from schemas.errors import BundleError, one_line
from schemas.evidence import EVIDENCE, LiveEvidence

REFRESHES_KEPT = 300
"""Announcements of refreshes of the serving network that stay on the topic, about a day's: by them a worker knows the
versions whose session memories it can use. Of other networks the newest `OTHERS_KEPT` stay."""

OTHERS_KEPT = 2
"""The announcement of the version that a network was trained as stays too."""

Message = tuple[bytes, bytes | None]
"""Key and value; a message without a value deletes the key."""


def serving_key(name: str) -> bytes:
    """Key of the announcement of the serving version."""
    return name.encode()


def version_key(name: str, version: str) -> bytes:
    """Key of a version's newest announcement."""
    return f"{name}{ANNOUNCED}{version}".encode()


def shadow_key(name: str) -> bytes:
    """Key of the announcement of the shadow."""
    return f"{name}{SHADOW}".encode()


def parse_announcement(value: bytes) -> ModelAnnouncement:
    """The announcement in a message.

    Raises:
        BundleError: the message is not a valid announcement.
    """
    try:
        return ModelAnnouncement.model_validate_json(value)
    except ValidationError as error:
        raise BundleError(f"not a ModelAnnouncement: {one_line(error)}") from error


@dataclass(frozen=True)
class ModelsState:
    """The state of one model name on the models topic; messages that cannot be parsed are ignored.

    Attributes:
        name: of the model.
        messages: all messages of the topic with a key, oldest first.
        serving: the announcement of the serving version; None before the first, or if it was deleted from the topic.
        history: the announcements, oldest first.
        shadow: the version that is scored next to the serving one; None if there is none.
    """

    name: str
    messages: Sequence[Message]
    serving: ModelAnnouncement | None
    history: Sequence[ModelAnnouncement]
    shadow: ModelAnnouncement | None

    @classmethod
    def of(cls, name: str, messages: Sequence[Message]) -> "ModelsState":
        """The state from the messages of the topic, oldest first."""
        any_version = version_key(name, "")
        history: list[ModelAnnouncement] = []
        serving: ModelAnnouncement | None = None
        shadow: ModelAnnouncement | None = None
        for key, value in messages:
            if key == shadow_key(name):
                shadow = _announcement_or_none(value)
            elif key == serving_key(name) or key.startswith(any_version):
                announcement = _announcement_or_none(value)
                if announcement is not None and announcement not in history[-1:]:
                    history.append(announcement)
                if value is None and key != serving_key(name):
                    forgotten = key.removeprefix(any_version).decode()
                    history = [one for one in history if one.version != forgotten]
                if key == serving_key(name) and (announcement is not None or value is None):
                    serving = announcement
        return cls(name, tuple(messages), serving, tuple(history), shadow)

    @property
    def withdrawn(self) -> set[str]:
        """The versions that a rollback withdrew, and that nobody has announced again since."""
        newest = {announcement.version: announcement.announced_at for announcement in self.history}
        found = set()
        for decision in self.decisions():
            if decision.outcome == "rolled-back":
                found |= {version for version, at in decision.withdrawn.items() if newest.get(version) == at}
                before = newest.get(decision.candidate or "")
                if not decision.withdrawn and before is not None and before <= decision.decided_at:  # by 0.2.0 or older
                    found.add(str(decision.candidate))
        return found

    def decisions(self) -> list[Decision]:
        """All decisions, oldest first."""
        prefix = f"{self.name}{DECISION}".encode()
        found: dict[bytes, Decision] = {}
        for key, value in self.messages:
            if key.startswith(prefix) and value is not None:
                try:
                    found[key] = Decision.model_validate_json(value)
                except ValidationError:
                    continue
        return sorted(found.values(), key=lambda decision: decision.decided_at)

    def versions_of(self, network_version: str) -> list[str]:
        """The announced versions with this network by their last announcement, the newest first."""
        found = (one.version for one in reversed(self.history) if one.network_version == network_version)
        return list(dict.fromkeys(found))

    def newest_by_network_version(self, without: Collection[str] = ()) -> dict[str, ModelAnnouncement]:
        """Network version → the last announcement of a version with that network; the last announced network first.

        Args:
            without: versions that do not count.
        """
        newest: dict[str, ModelAnnouncement] = {}
        for announcement in reversed(self.history):
            if announcement.version not in without:
                newest.setdefault(announcement.network_version, announcement)
        return newest

    def version_before_refresh(self) -> str | None:
        """The version to go back to from the last refresh only: the newest one beside the serving version that has its
        network and was not withdrawn; None if there is none."""
        if self.serving is None:
            return None
        gone = self.withdrawn | {self.serving.version}
        return next((one for one in self.versions_of(self.serving.network_version) if one not in gone), None)

    def forgettable(self, announced: ModelAnnouncement) -> list[str]:
        """The refreshes whose announcements need not stay once this version is announced, so that frequent refreshes
        do not let the topic grow. What tells how old a network is, and since when it serves, stays."""
        kept = {one.version for one in (announced, self.serving, self.shadow) if one is not None}
        if self.serving is not None and self.serving.network_version == announced.network_version:
            kept.add(self._serves_since(self.serving).version)
        return [
            version
            for network_version in self.newest_by_network_version()
            for version in self.versions_of(network_version)[
                REFRESHES_KEPT if network_version == announced.network_version else OTHERS_KEPT :
            ]
            if version not in kept and version != network_version
        ]

    def evidence(self, serving: ModelAnnouncement, shadow: ModelAnnouncement) -> list[LiveEvidence]:
        """The newest counts of each worker for the networks of these two versions, counted after both were in use.

        Workers of 0.2 and older count versions: only their counts since the last refresh are found.
        """
        pairs = {(serving.network_version, shadow.network_version), (serving.version, shadow.version)}
        prefixes = tuple(f"{self.name}{EVIDENCE}{mine}/{its}/".encode() for mine, its in pairs)
        since = max(self._serves_since(serving).announced_at, shadow.announced_at)
        newest = {key: value for key, value in self.messages if key.startswith(prefixes)}
        found = []
        for value in newest.values():
            try:
                evidence = None if value is None else LiveEvidence.model_validate_json(value)
            except ValidationError:
                continue
            if evidence is not None and evidence.counted_at >= since:
                found.append(evidence)
        return found

    def _serves_since(self, serving: ModelAnnouncement) -> ModelAnnouncement:
        """The announcement with which the network of the serving version began to serve: its refreshes do not end what
        is counted."""
        first = serving
        for announcement in reversed(self.history):
            if announcement.network_version != serving.network_version:
                break
            first = min(first, announcement, key=lambda one: one.announced_at)
        return first


def _announcement_or_none(value: bytes | None) -> ModelAnnouncement | None:
    try:
        return None if value is None else parse_announcement(value)
    except BundleError:
        return None
