"""The state of one model name, from the messages of the models topic.

The topic is compacted and has one partition. All keys begin with the model's name:

    {name}                                  the announcement of the serving version
    {name}/announced/{version}              a replaced announcement, kept for a rollback
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


def replaced_key(name: str, version: str) -> bytes:
    """Key of a replaced announcement."""
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
        history: the announcements, oldest first; the last one serves.
        shadow: the version that is scored next to the serving one; None if there is none.
    """

    name: str
    messages: Sequence[Message]
    history: Sequence[ModelAnnouncement]
    shadow: ModelAnnouncement | None

    @classmethod
    def of(cls, name: str, messages: Sequence[Message]) -> "ModelsState":
        """The state from the messages of the topic, oldest first."""
        replaced = replaced_key(name, "")
        history: list[ModelAnnouncement] = []
        shadow: ModelAnnouncement | None = None
        for key, value in messages:
            if key == shadow_key(name):
                shadow = _announcement_or_none(value)
            elif key == serving_key(name) or key.startswith(replaced):
                announcement = _announcement_or_none(value)
                if announcement is not None and announcement not in history[-1:]:
                    history.append(announcement)
        return cls(name, tuple(messages), tuple(history), shadow)

    @property
    def serving(self) -> ModelAnnouncement | None:
        """The announcement of the serving version; None before the first."""
        return self.history[-1] if self.history else None

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
