"""The settings of the form that messages of the clicks topic have, where other programs write it."""

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from schemas.click_fields import named_fields, read_click_fields
from schemas.click_times import RECORD, click_times
from schemas.conditions import split_conditions


class ClickSettings(BaseSettings):
    """Where a message of the clicks topic has the values of a click, and which messages are clicks."""

    click_time: str = Field(
        "",
        description="how messages write the time of a click: s, ms, us, ns, iso8601, a format of strptime such as "
        "'%d.%m.%Y %H:%M:%S' (UTC without %z), or record (they do not: Kafka's time of the message counts); by default "
        "ms, s or ISO 8601",
    )
    click_fields: str = Field(
        "",
        description="where messages have the values of a click: session_id=user.sid,item_id=payload.sku,timestamp=ts,"
        "event=type; a dotted path leads into nested JSON; what is not named is under its own name",
    )
    click_where: str = Field(
        "",
        description="only messages with these values are clicks: type=view,cart; several conditions are separated by "
        "semicolons, and all must hold; other messages are passed over and counted",
    )

    @field_validator("click_time")
    @classmethod
    def _click_time(cls, value: str) -> str:
        if value != RECORD:
            click_times(value)
        return value

    @field_validator("click_fields")
    @classmethod
    def _click_fields(cls, value: str, info: ValidationInfo) -> str:
        read_click_fields(value)
        if info.data.get("click_time") == RECORD and "timestamp" in named_fields(value):
            raise ValueError("it names a timestamp, and NEXTCLICK_CLICK_TIME=record says that messages have none")
        return value

    @field_validator("click_where")
    @classmethod
    def _click_where(cls, value: str) -> str:
        split_conditions(value)
        return value
