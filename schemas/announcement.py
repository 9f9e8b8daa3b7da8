"""A model announcement: which bundle serves, as JSON on the models topic under the model's name."""

from typing import Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from schemas.names import NAME


class ClickSpan(BaseModel):
    """The part of the click log that a model was trained on."""

    model_config = ConfigDict(frozen=True)

    clicks: int = Field(ge=0)
    sessions: int = Field(ge=0)
    first: int | None = Field(
        None, description="earliest click time, ms since 1970 UTC; null where clicks have no time"
    )
    last: int | None = Field(None, description="latest click time, ms since 1970 UTC")
    judged_until: int | None = Field(
        None, description="latest click time of the newer sessions that chose the epoch; null where none did"
    )
    network_until: int | None = Field(
        default=None,
        description="where neighbours were counted after the network was trained: latest click time that the network "
        "was trained on, 0 if unknown; null for other models",
    )
    source: str = Field("", description="the file or topic that the clicks were read from")
    offsets: dict[int, tuple[int, int]] = Field(
        default_factory=dict, description="partition → first offset read and the one after the last, for a topic"
    )

    @property
    def seen_until(self) -> int | None:
        """Latest click time of all sessions that had a part in the training: only newer ones can judge the model."""
        return self.last if self.judged_until is None else max(self.last or 0, self.judged_until)

    @property
    def network_last(self) -> int | None:
        """Latest click time that the network was trained on; None or 0 if unknown."""
        return self.last if self.network_until is None else self.network_until

    @property
    def network_seen_until(self) -> int | None:
        """Latest click time of all sessions that had a part in the training of the network."""
        seen = self.seen_until if self.network_until is None else max(self.network_until, self.judged_until or 0)
        return seen or None


SHADOW = "/shadow"
"""Suffix of the model's name in the key of a shadow's announcement. Workers score a shadow model on the same clicks as
the serving model and do not publish its answers. A message without a value under this key ends the shadow."""

ANNOUNCED = "/announced/"
"""Each announcement is also kept under a key made of the model's name, this, and its version. Compaction keeps only the
newest announcement under the name itself, and a rollback needs the earlier ones."""


class ModelAnnouncement(BaseModel):
    """Tells the workers to serve this bundle from now on or, under the shadow's key, to score it."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=NAME)
    version: str = Field(pattern=NAME)
    uri: str = Field(min_length=1, description="where the bundle is: a path or an fsspec URI below the models URI")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the bundle, as `rankers.bundle` computes it")
    metrics: dict[str, float] = Field(
        default_factory=dict, description="offline, by full ranking: recall@20, mrr@20, …"
    )
    trained_on: ClickSpan | None = None
    announced_at: AwareDatetime
    refresh_of: str | None = Field(
        default=None,
        pattern=NAME,
        description="the version whose network this one has, with neighbours that were counted anew; null: its own",
    )
    role: Literal["challenger", "former"] | None = Field(
        default=None,
        description="of a shadow: it may replace the model that serves, or it served before and may come back",
    )

    @model_serializer(mode="wrap")
    def _without_empty_refresh_of(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The announcement of a model with a network of its own is as before there were refreshes."""
        fields: dict[str, Any] = serialise(self)
        if self.refresh_of is None:
            fields.pop("refresh_of", None)
        return fields

    @property
    def network_version(self) -> str:
        """The version that the network was trained as. Evidence, rollbacks and retention count networks by it, so
        that a refresh is the same model to them."""
        return self.refresh_of or self.version
