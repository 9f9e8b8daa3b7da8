"""The results of a retraining: the candidate is accepted or refused; the decision is recorded in both cases."""

import importlib.metadata
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from rankers.bundle import Bundle
from schemas.announcement import ModelAnnouncement
from schemas.decision import Decision, Judgement
from trainer.retraining.candidate import Candidate


@dataclass(frozen=True)
class Accepted:
    """The candidate passed the rule and will be announced.

    Attributes:
        candidate: with its bundle and the optimiser's state.
        serving: the announcement of the model that the candidate was compared with; None if none serves.
        release: `serve` replaces that model; `shadow` is scored next to it.
        judgement: of the candidate.
        reason: why, in one line.
    """

    candidate: Candidate
    serving: ModelAnnouncement | None
    release: Literal["serve", "shadow"]
    judgement: Judgement
    reason: str


@dataclass(frozen=True)
class Refused:
    """The serving model stays, because there is no candidate or it is not good enough.

    Attributes:
        reason: why, in one line.
    """

    reason: str


@dataclass
class DecisionDraft:
    """The facts of a retraining so far, so that a failure is recorded with them.

    Attributes:
        name: of the model.
        began_at, cpu_began: when the retraining began, and this process's CPU seconds at that time.
        serving: the serving version; None if none serves.
        missing: parts of the click log that a retention has deleted.
        candidate: once it is trained.
        judgement: of the candidate, once it is judged.
    """

    name: str
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    cpu_began: float = field(default_factory=time.process_time)
    serving: str | None = None
    missing: list[str] = field(default_factory=list)
    candidate: Candidate | None = None
    judgement: Judgement | None = None

    def decision(self, outcome: Literal["published", "shadowed", "kept", "failed"], reason: str) -> Decision:
        """Make the record of a retraining that ends now."""
        now = datetime.now(UTC)
        candidate = self.candidate
        bundle: Bundle | None = candidate.bundle if candidate else None
        return Decision(
            name=self.name,
            id=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
            outcome=outcome,
            reason=reason,
            began_at=self.began_at,
            decided_at=now,
            candidate=bundle.version if bundle else None,
            serving=self.serving,
            kind=candidate.kind if candidate else None,
            trained_on=bundle.trained_on if bundle else None,
            judgement=self.judgement,
            missing=self.missing,
            cpu_seconds=time.process_time() - self.cpu_began,
            package=importlib.metadata.version("nextclick"),
            by="retraining",
        )
