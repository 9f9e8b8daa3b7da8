"""Decisions of retrainings, of the live evidence and of people about the models, with their reasons.

JSON on the models topic. Every decision has its own key, so compaction keeps all of them.
"""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.announcement import ClickSpan
from schemas.names import NAME

DECISION = "/decision/"
"""A decision's key is the model's name, this, and the decision's id. Workers ignore decisions."""


class Figures(BaseModel):
    """How one method ranked the next clicks of the judged sessions."""

    model_config = ConfigDict(frozen=True)

    recall: float = Field(ge=0, le=1, description="Recall@20")
    mrr: float = Field(ge=0, le=1, description="MRR@20")


class Difference(BaseModel):
    """Recall@20 of the candidate minus Recall@20 of another method, paired by session."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float = Field(
        description="lower end of the interval: 95 % by bootstrap over sessions; 3 standard errors of live evidence"
    )
    high: float


class Judgement(BaseModel):
    """Candidate, serving model and baselines, judged on the same next clicks.

    A retraining judges on the newest sessions, which none of the models was trained on. Live evidence judges on the
    clicks that the workers answered with both models.
    """

    model_config = ConfigDict(frozen=True)

    sessions: int | None = Field(None, ge=0, description="that were judged by; null where they were not counted")
    events: int = Field(ge=0, description="next clicks that were ranked")
    first: int | None = Field(None, description="earliest click of the judged sessions, ms since 1970 UTC")
    last: int | None = None
    figures: dict[str, Figures] = Field(description="candidate, serving, popularity, vs-knn")
    over: dict[str, Difference] = Field(description="how far the candidate is above each of the others")
    margin: float = Field(
        description="NEXTCLICK_RETRAIN_MARGIN: what the interval over the serving model had to exceed"
    )


class Decision(BaseModel):
    """The result of one retraining or of one comparison of a model with its shadow, or a change made by hand."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=NAME, description="the model's name")
    id: str = Field(pattern=NAME)
    outcome: Literal[
        "published", "kept", "failed", "shadowed", "promoted", "dropped", "rolled-back", "confirmed", "refreshed"
    ]
    reason: str = Field(description="one line")
    began_at: AwareDatetime
    decided_at: AwareDatetime
    candidate: str | None = Field(None, description="version of the candidate, where there was one")
    serving: str | None = Field(None, description="version that served when it began")
    kind: Literal["warm", "full"] | None = None
    trained_on: ClickSpan | None = None
    judgement: Judgement | None = None
    missing: list[str] = Field(default_factory=list, description="what a retention had eaten of the span")
    cpu_seconds: float = Field(0, ge=0)
    package: str = Field("", description="version of nextclick")
    by: str = Field("", description="who decided: user@host or --by, `retraining`, `refresh` or `live evidence`")
    times: int = Field(
        default=1, ge=1, description="of refreshes, which have one record per network and outcome: how many it tells of"
    )
    withdrawn: dict[str, AwareDatetime] = Field(
        default_factory=dict, description="of a rollback: the versions that it withdrew → when each was announced"
    )

    @property
    def key(self) -> bytes:
        """The message's key."""
        return f"{self.name}{DECISION}{self.id}".encode()
