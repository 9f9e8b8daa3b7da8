"""Encoding clicks in the form that `schemas.click_decoder` reads by the same settings."""

from collections.abc import Callable
from typing import Any

import msgspec

from schemas.click import ItemId
from schemas.click_fields import NEEDED, read_click_fields
from schemas.click_times import RECORD, click_times, on_topic
from schemas.conditions import split_conditions
from schemas.errors import SettingsError
from schemas.message_fields import check_paths
from schemas.settings import Settings

EncodeClick = Callable[[ItemId, ItemId, int], bytes]
"""From session id, item id and time (ms since 1970 UTC) to a message's value."""


class EncodedClick(msgspec.Struct, gc=False):
    """A click on the topic: the fields of `schemas.click.Click`."""

    session_id: ItemId
    item_id: ItemId
    timestamp: int | str


def click_encoder(settings: Settings) -> EncodeClick:
    """The encoder for messages of the clicks topic.

    A message gets the first value of each condition of NEXTCLICK_CLICK_WHERE. With NEXTCLICK_CLICK_TIME=record it has
    no time: the click happens when it is sent.

    Raises:
        SettingsError: a condition is about a value of the click, so that not every click can meet it.
    """
    encode = msgspec.json.Encoder().encode
    if not (settings.click_fields or settings.click_time or settings.click_where):
        return lambda session_id, item_id, time: encode(EncodedClick(session_id, item_id, on_topic(time)))
    fields = read_click_fields(settings.click_fields)
    write = None if settings.click_time == RECORD else click_times(settings.click_time).write
    fixed = {condition.path: condition.values[0] for condition in split_conditions(settings.click_where)}
    try:
        check_paths({name: fields[name] for name in NEEDED} | {f"condition on {path}": path for path in fixed})
    except ValueError as error:
        raise SettingsError(
            f"clicks cannot be written as NEXTCLICK_CLICK_FIELDS and NEXTCLICK_CLICK_WHERE say: {error}"
        ) from error

    def encode_mapped(session_id: ItemId, item_id: ItemId, time: int) -> bytes:
        message: dict[str, Any] = {}
        for path, value in fixed.items():
            _put(message, path, value)
        _put(message, fields["session_id"], session_id)
        _put(message, fields["item_id"], item_id)
        if write is not None:
            _put(message, fields["timestamp"], write(time))
        return encode(message)

    return encode_mapped


def _put(message: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    for part in above:
        message = message.setdefault(part, {})
    message[last] = value
