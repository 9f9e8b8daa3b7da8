"""A recommendation: the answer to one click, as JSON on the recommendations topic."""

from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, StrictInt, StrictStr, model_serializer

from schemas.click import ItemId

TOP = 20
"""The most items in one recommendation."""

Source = Literal["model", "popular"]


class Recommendation(BaseModel):
    """The top items for a session after one of its clicks, best first.

    `source` is `model` (the model ranked the items) or `popular` (no model serves yet, or the session has no item that
    the model knows). Duplicates of an answer have the same `log`, `replay` and `id`: in a clicks topic that was created
    again, offsets begin anew.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    id: str = Field(pattern=r"^\d+-\d+$", description="partition-offset of the click that is answered")
    session_id: StrictInt | StrictStr = Field(description="as the click has it")
    item_id: StrictInt | StrictStr = Field(description="the clicked item")
    timestamp: int = Field(description="of the click, ms since 1970 UTC")
    items: list[StrictInt | StrictStr] = Field(max_length=TOP, description="best first; texts if item_id is a text")
    scores: list[float] = Field(max_length=TOP, description="one per item; comparable within one answer only")
    model_version: str | None = Field(description="the bundle that answered; null before the first model")
    source: Source
    log: str | None = Field(None, description="incarnation of the clicks topic: its topic id; null if Kafka has none")
    replay: str | None = Field(None, description="name of the replay that answered again; null for live answers")
    neighbours_share: list[float] | None = Field(
        None,
        max_length=TOP,
        description="one per item: how much of its score the neighbours of a blend brought, from 0 (the network alone) "
        "to 1 (the neighbours alone); absent unless NEXTCLICK_ANSWER_DETAILS is set and a blend answered",
    )

    @model_serializer(mode="wrap")
    def _without_absent(self, as_written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = as_written(self)
        if fields.get("neighbours_share") is None:
            fields.pop("neighbours_share", None)
        return fields


class EncodedRecommendation(msgspec.Struct, gc=False):
    """The fields of `Recommendation` in the same order, for the encoder of the hot path."""

    id: str
    session_id: ItemId
    item_id: ItemId
    timestamp: int
    items: list[ItemId]
    scores: list[float]
    model_version: str | None
    source: str
    log: str | None = None
    replay: str | None = None
    neighbours_share: list[float] | msgspec.UnsetType = msgspec.UNSET


encode_recommendation = msgspec.json.Encoder().encode
