"""The state of one model name, from the messages of the models topic.

The topic is compacted and has one partition. All keys begin with the model's name:

    {name}                                  the announcement of the serving version
    {name}/announced/{version}              the newest announcement of each version, kept for a rollback
    {name}/shadow                           the version that is scored next to the serving one; no value: none
    {name}/decision/{id}                    why a model was published, kept, promoted, …
    {name}/live/{serving}/{shadow}/{worker} one worker's counts for both versions on the same clicks
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from schemas.announcement import ANNOUNCED, SHADOW, ModelAnnouncement
from schemas.decision import DECISION, Decision
from schemas.errors import BundleError, one_line
from schemas.evidence import EVIDENCE, LiveEvidence

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

    def evidence(self, serving: ModelAnnouncement, shadow: ModelAnnouncement) -> list[LiveEvidence]:
        """The newest counts of each worker for these two versions, counted after both were announced."""
        prefix = f"{self.name}{EVIDENCE}{serving.version}/{shadow.version}/".encode()
        since = max(serving.announced_at, shadow.announced_at)
        newest = {key: value for key, value in self.messages if key.startswith(prefix)}
        found = []
        for value in newest.values():
            try:
                evidence = None if value is None else LiveEvidence.model_validate_json(value)
            except ValidationError:
                continue
            if evidence is not None and evidence.counted_at >= since:
                found.append(evidence)
        return found


def _announcement_or_none(value: bytes | None) -> ModelAnnouncement | None:
    try:
        return None if value is None else parse_announcement(value)
    except BundleError:
        return None
