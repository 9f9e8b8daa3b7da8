"""Rejected messages in counts and log: few kinds, and few lines however many messages there are."""

import json
import logging
from typing import Any

import pytest

from schemas.click import MAX_TIMESTAMP, InvalidClickError, decode_click
from schemas.click_decoder import click_decoder
from schemas.settings import Settings
from worker.reject_log import QUIET_SECONDS, RejectLog
from worker.rejects import KINDS, Reject, kind_of

GOOD = {"session_id": "s", "item_id": 1, "timestamp": 1_700_000_000_000}


def message(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        (b"s", None, "empty"),
        (None, message(), "key"),
        (b"timestamp", message(), "key"),
        (b"s", b"{", "json"),
        (b"s", b"\xff", "json"),
        (b"s", b"[" * 100_000, "json"),
        (b"s", b"[]", "json"),
        (b"s", message(timestamp=-1), "timestamp"),
        (b"s", message(timestamp="yesterday"), "timestamp"),
        (b"s", message(timestamp=MAX_TIMESTAMP), "timestamp"),
        (b"s", message(timestamp="2300-01-01T00:00:00Z"), "timestamp"),
        (b"s", message(session_id=None), "session_id"),
        (b"s", message(item_id=""), "item_id"),
        (b"s", message(item_id=2**63), "item_id"),
        (b"s", message(item_id=1.5), "item_id"),
        (b"s", b'{"session_id": "s", "timestamp": 1}', "item_id"),
    ],
)
def test_every_reason_has_a_kind(key: bytes | None, value: bytes | None, kind: str) -> None:
    with pytest.raises(InvalidClickError) as caught:
        decode_click(key, value, 1_800_000_000_000)
    assert kind_of(str(caught.value)) == kind
    assert kind in KINDS


MAPPED = "session_id=keys.timestamp,item_id=keyword,timestamp=at"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b'{"keyword": 1, "at": 5}', "session_id"),
        (b'{"keys": {"timestamp": "s"}, "at": 5}', "item_id"),
        (b'{"keys": {"timestamp": "s"}, "keyword": {}, "at": 5}', "item_id"),
        (b'{"keys": {"timestamp": "s"}, "keyword": 1, "at": []}', "timestamp"),
        (b"[]", "json"),
    ],
)
def test_reasons_that_name_the_path_of_a_field_have_its_kind(value: bytes, kind: str) -> None:
    decode = click_decoder(Settings(_env_file=None, click_fields=MAPPED))
    with pytest.raises(InvalidClickError) as caught:
        decode(b"s", value)
    assert kind_of(str(caught.value)) == kind, str(caught.value)


def test_a_flood_of_rejects_is_one_line_per_reason_and_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    rejects = RejectLog(lambda: now[0])
    caplog.set_level(logging.INFO, "worker")
    for second in range(round(QUIET_SECONDS) * 2):
        now[0] = float(second)
        rejects.look()
        rejects.add({"json": 1000, "key": 1}, {"json": Reject(3, second, "not JSON"), "key": Reject(0, 1, "no key")})
    assert rejects.counts == {"json": 120_000, "key": 120}
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 6  # per minute and kind: the first; and after the first minute the rest of it
    assert said[0].startswith("the message of partition 3 at offset 0 is no click (json): not JSON; ")
    assert "59,999 more messages were rejected in the last minute (json)" in said
    assert vars(caplog.records[0])["partition"] == 3


def test_a_reason_that_stopped_is_told_to_the_end(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    rejects = RejectLog(lambda: now[0])
    rejects.add({"key": 1}, {"key": Reject(0, 1, "no key")})
    now[0] = QUIET_SECONDS
    rejects.look()
    rejects.add({"key": 3}, {"key": Reject(0, 2, "no key")})
    now[0] += QUIET_SECONDS
    rejects.look()
    rejects.look()
    assert [record.getMessage().split(" (key)")[0] for record in caplog.records] == [
        "the message of partition 0 at offset 1 is no click",
        "the message of partition 0 at offset 2 is no click",
        "2 more messages were rejected in the last minute",
    ]
