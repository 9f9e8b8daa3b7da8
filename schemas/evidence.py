"""Live evidence: how well champion and shadow ranked the same clicks, counted by one worker. JSON on the models topic.

A worker writes its counts again and again under one key per pair of models, so compaction keeps the newest record.
Counts go on when a model is refreshed, because they count networks.
"""

from typing import Self
from zlib import crc32

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from schemas.names import NAME

EVIDENCE = "/live/"
"""A record's key is the model's name, this, champion, shadow and the id of the worker process."""

GROUPS = 64
"""Number of groups that sessions are counted in, by a checksum of their key. Clicks of one session are not independent,
so the standard error is computed over groups."""


def group_of(session_key: bytes) -> int:
    """The group that a session is counted in, 0 to GROUPS - 1; the same in every worker."""
    return crc32(session_key) % GROUPS


class LiveEvidence(BaseModel):
    """Counts of the next clicks that both champion and shadow had ranked, by group of sessions."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=NAME, description="the model's name")
    worker: str = Field(pattern=NAME, description="one process of a worker")
    champion: str = Field(
        pattern=NAME, description="network version of the model whose answers were published: as it was trained"
    )
    shadow: str = Field(pattern=NAME, description="network version of the shadow")
    counted_at: AwareDatetime
    events: list[NonNegativeInt] = Field(description="per group: clicks that followed answers of both")
    champion_hits: list[NonNegativeInt] = Field(description="per group: of those, among the champion's 20 items")
    shadow_hits: list[NonNegativeInt]
    champion_reciprocal_ranks: float = Field(ge=0, description="sum over all groups, for MRR@20")
    shadow_reciprocal_ranks: float = Field(ge=0)

    @model_validator(mode="after")
    def _groups(self) -> Self:
        for counts in (self.events, self.champion_hits, self.shadow_hits):
            if len(counts) != GROUPS:
                raise ValueError(f"counts are kept in {GROUPS} groups, these have {len(counts)}")
        return self

    @property
    def key(self) -> bytes:
        """The message's key."""
        return f"{self.name}{EVIDENCE}{self.champion}/{self.shadow}/{self.worker}".encode()
