"""The record of refreshes: one per network and outcome, which each refresh writes anew and counts up.

A network may be refreshed every few minutes. With a record each, the models topic and the story would be full of them.
"""

import importlib.metadata
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from modelregistry.models_state import ModelsState
from rankers.bundle import Bundle
from schemas.announcement import ModelAnnouncement
from schemas.decision import Decision, Judgement


@dataclass
class RefreshDraft:
    """The facts of a refresh so far.

    Attributes:
        name: of the model.
        serving: the announcement of the model that is refreshed.
        began_at, cpu_began: when the refresh began, and this process's CPU seconds at that time.
        missing: parts of the click log that a retention has deleted.
        refreshed: the new version, once it is counted.
        judgement: of the new version, once it is judged.
    """

    name: str
    serving: ModelAnnouncement
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    cpu_began: float = field(default_factory=time.process_time)
    missing: list[str] = field(default_factory=list)
    refreshed: Bundle | None = None
    judgement: Judgement | None = None

    def told(self) -> str:
        """What the new version is, in one line."""
        assert self.refreshed is not None
        assert self.refreshed.trained_on is not None
        clicks, items = self.refreshed.trained_on.clicks, len(self.refreshed.items)
        return (
            f"the network of {self.refreshed.network_version} with the neighbours of {clicks:,} clicks, {items:,} items"
        )

    def decision(
        self, outcome: Literal["refreshed", "kept", "failed"], reason: str, state: ModelsState | None = None
    ) -> Decision:
        """The record of the refreshes of this network with this outcome, the one that ends now among them.

        Args:
            outcome: of this refresh.
            reason: in one line.
            state: with the record of the earlier ones; None counts this one only.
        """
        name = f"refresh-{outcome}-{self.serving.network_version}"[:120]
        before = next((one for one in state.decisions() if one.id == name), None) if state else None
        times = 1 if before is None else before.times + 1
        began_at = self.began_at if before is None else before.began_at
        if before is not None:
            reason = f"{reason} (the last of {times} since {began_at:%Y-%m-%d %H:%M})"
        return Decision(
            name=self.name,
            id=name,
            outcome=outcome,
            reason=reason,
            began_at=began_at,
            decided_at=datetime.now(UTC),
            candidate=self.refreshed.version if self.refreshed else None,
            serving=self.serving.version,
            trained_on=self.refreshed.trained_on if self.refreshed else None,
            judgement=self.judgement,
            missing=self.missing,
            cpu_seconds=time.process_time() - self.cpu_began,
            package=importlib.metadata.version("nextclick"),
            by="refresh",
            times=times,
        )
