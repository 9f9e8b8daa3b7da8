"""Clicks in the form of other programs: fields, times, conditions and keys."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.click import MAX_TIMESTAMP, Click, InvalidClickError, decode_click
from schemas.click_decoder import click_decoder, session_reader
from schemas.click_encoder import click_encoder
from schemas.errors import SettingsError
from schemas.settings import Settings, load_settings
from worker.rejects import kind_of

FIELDS = "session_id=user.sid,item_id=payload.sku,timestamp=ts,event=type"
MOMENT = 1_772_368_200_250
"""2026-03-01T12:30:00.250Z."""


def settings(**values: str) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg, arg-type]


def decoded(message: Any, key: bytes = b"a7", record_time: int = -1, **values: str) -> Any:
    """(session, item, time) of a message in the form that these settings say; None if it is passed over."""
    value = message if isinstance(message, bytes) else json.dumps(message).encode()
    click = click_decoder(settings(**values))(key, value, MAX_TIMESTAMP, record_time)
    return None if click is None else (click.session_id, click.item_id, click.timestamp)


def reason(message: Any, **values: str) -> str:
    with pytest.raises(InvalidClickError) as refused:
        decoded(message, **values)
    return str(refused.value)


ids = st.integers(-(2**63), 2**63 - 1) | st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())
paths = st.lists(st.text("abcdeé_-", min_size=1, max_size=4), min_size=1, max_size=3).map(".".join)


@hypothesis.settings(max_examples=40)
@given(
    session=ids,
    item=ids,
    moment=st.integers(0, MAX_TIMESTAMP),
    names=st.lists(paths, min_size=4, max_size=4),
    time=st.sampled_from(["", "ms", "ns", "iso8601", "%Y %j %H-%M-%S.%f%z"]),
    flat=st.booleans(),
)
def test_a_click_in_another_form_is_the_same_click(
    session: Any, item: Any, moment: int, names: list[str], time: str, flat: bool
) -> None:
    own = decode_click(str(session).encode(), click_encoder(settings())(session, item, moment))
    fields = dict(zip(("session_id", "item_id", "timestamp"), names, strict=False))
    given_settings = {
        "click_fields": ",".join(f"{name}={path}" for name, path in fields.items()),
        "click_time": time,
        "click_where": f"{names[3]}=view,cart",
    }
    try:
        value = click_encoder(settings(**given_settings))(session, item, moment)
    except (SettingsError, ValueError):  # a path leads into another
        return
    if flat:
        parts = json.loads(value)
        value = json.dumps({path: _at(parts, path) for path in names}).encode()
    decode = click_decoder(settings(**given_settings))
    assert decode(str(session).encode(), value) == own
    assert decode(str(session).encode(), value.replace(b'"view"', b'"buy"')) is None
    assert session_reader(settings(**given_settings))(value) == str(session).encode()


fragments = st.sampled_from(
    (
        *(b'{"', b"}", b"[", b",", b":", b'"', b"\xff", b"\\n", b"\\ud800"),
        *(b"view", b"null", b"1e400", b"9" * 5000, b"1.5", b'"a7"'),
    )
)
raw_bytes = st.binary(max_size=20) | st.lists(fragments, max_size=12).map(b"".join)
raw_values = st.binary(max_size=8) | st.lists(fragments, max_size=3).map(b"".join)


@hypothesis.settings(max_examples=400, deadline=None)
@given(
    key=st.none() | raw_bytes | raw_bytes.map(lambda content: b'"' + content + b'"'),
    value=st.none()
    | raw_bytes
    | st.tuples(*[raw_values] * 4).map(
        lambda parts: b'{"type":"%b","user":{"sid":%b},"payload":{"sku":%b},"ts":%b}' % parts
    )
    | raw_bytes.map(lambda kind: b'{"type":"view%b","user":{"sid":"a7"},"payload":{"sku":5},"ts":1}' % kind)
    | st.just(b'{"session_id":"a7","item_id":5,"timestamp":1}'),
    where=st.sampled_from(["", "type=view", "user.sid=a7; payload.sku=5"]),
    fields=st.sampled_from(["", FIELDS]),
    time=st.sampled_from(["", "s", "iso8601", "%d.%m.%Y %H:%M"]),
)
def test_whatever_arrives_is_a_click_or_none_or_has_a_reason(
    key: bytes | None, value: bytes | None, where: str, fields: str, time: str
) -> None:
    form = settings(click_where=where, click_fields=fields, click_time=time)
    for decode in (lambda: click_decoder(form)(key, value), lambda: session_reader(form)(value)):
        try:
            decode()
        except InvalidClickError as error:
            str(error).encode()


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        (b'"\xff"', b'{"session_id":"a7","item_id":5,"timestamp":1}', ""),
        (b"a7", b'{"type":"\xff\\n"}', "type=view"),
    ],
)
def test_a_text_that_is_not_utf_8_is_refused(key: bytes, value: bytes, where: str) -> None:
    with pytest.raises(InvalidClickError):
        click_decoder(settings(click_where=where))(key, value)


def _at(message: Any, path: str) -> Any:
    for part in path.split("."):
        message = message[part]
    return message


@pytest.mark.parametrize(
    ("time", "written", "understood"),
    [
        ("ms", 1_396_873_412, 1_396_873_412),
        ("ms", "1772368200250", MOMENT),
        ("ms", 1_772_368_200_250.4, MOMENT),
        ("s", 1_772_368_200, MOMENT - 250),
        ("s", 1_772_368_200.25, MOMENT),
        ("s", "1772368200.25", MOMENT),
        ("us", 1_772_368_200_250_999, MOMENT),
        ("ns", 1_772_368_200_250_999_999, MOMENT),
        ("iso8601", "2026-03-01T13:30:00.25+01:00", MOMENT),
        ("iso8601", "2026-03-01 12:30:00.250", MOMENT),
        ("%d.%m.%Y %H:%M", "01.03.2026 12:30", MOMENT - 250),
        ("%Y-%m-%d %I:%M:%S.%f %p %z", "2026-03-01 01:30:00.25 PM +0100", MOMENT),
    ],
)
def test_a_time_is_read_in_the_given_unit_or_form(time: str, written: Any, understood: int) -> None:
    message = {"session_id": "a7", "item_id": 5, "timestamp": written}
    assert decoded(message, click_time=time) == ("a7", 5, understood)


@pytest.mark.parametrize(
    ("time", "written"),
    [
        ("ms", "yesterday"),
        ("ms", -1),
        ("ns", 10**30),
        ("s", 1e300),
        ("us", 1.7e308),
        ("s", 1.7e308),
        ("ms", "9" * 5000),
        ("ms", True),
        ("iso8601", MOMENT),
        ("iso8601", "2026-03-01"),
        ("iso8601", "1.3.2026 12:30"),
        ("%d.%m.%Y %H:%M", "2026-03-01 12:30"),
        ("%d.%m.%Y %H:%M", "01.01.1900 12:30"),
        ("%d.%m.%Y %H:%M", None),
    ],
)
def test_a_time_in_another_unit_or_form_is_no_click(time: str, written: Any) -> None:
    said = reason({"session_id": "a7", "item_id": 5, "timestamp": written}, click_time=time)
    assert said.startswith("timestamp ") or said.endswith("which is its timestamp")
    assert kind_of(said) == "timestamp"


def test_messages_without_a_time_have_kafkas() -> None:
    message = {"session_id": "a7", "item_id": 5}
    assert decoded(message, record_time=MOMENT, click_time="record") == ("a7", 5, MOMENT)
    assert kind_of(reason(message, click_time="record")) == "timestamp"
    late = click_decoder(settings(click_time="record"))
    with pytest.raises(InvalidClickError, match="NEXTCLICK_CLOCK_TOLERANCE"):
        late(b"a7", json.dumps(message).encode(), MOMENT - 1, MOMENT)


@pytest.mark.parametrize(
    ("key", "session", "accepted"),
    [
        (b"a7", "a7", True),
        (b'"a7"', "a7", True),
        (b'"\\u00e97"', "é7", True),
        (b'"5"', 5, True),
        (b"5", "5", True),
        ((5).to_bytes(8, "big"), 5, True),
        ((5).to_bytes(4, "big"), 5, True),
        ((5).to_bytes(8, "big"), "5", True),
        ((-7).to_bytes(8, "big", signed=True), -7, True),
        ((2**62).to_bytes(8, "big"), 2**62, True),
        ((5).to_bytes(8, "little"), 5, False),
        ((5).to_bytes(2, "big"), 5, False),
        ((6).to_bytes(8, "big"), 5, False),
        ((5).to_bytes(8, "big"), "05", False),
        (b'"a8"', "a7", False),
        (b'"a7', "a7", False),
        (b"'a7'", "a7", False),
        (b"", "a7", False),
        (b"12345678", 12345678, True),
        (b"12345678", "x", False),
    ],
)
def test_keys_that_other_programs_write(key: bytes, session: Any, accepted: bool) -> None:
    value = json.dumps({"session_id": session, "item_id": 5, "timestamp": MOMENT}).encode()
    if accepted:
        assert decode_click(key, value).session_key == str(session).encode()
    else:
        with pytest.raises(InvalidClickError, match="is not the session id"):
            decode_click(key, value)


@pytest.mark.parametrize(
    ("where", "message", "accepted"),
    [
        ("type=view", {"type": "view"}, True),
        ("type=view, cart", {"type": "cart"}, True),
        ("type=view", {"type": "View"}, False),
        ("type=view", {"type": 'view"'}, False),
        ("type=view", {}, False),
        ("type=view", [], False),
        ("type=null", {"type": None}, False),
        ("type=[]", {"type": []}, False),
        ("n=1", {"n": 1}, True),
        ("n=1", {"n": "1"}, True),
        ("n=1", b'{"n": 1.0}', False),
        ("n=1.0", b'{"n": 1.0}', True),
        ("bot=false", {"bot": False}, True),
        ("bot=false", {"bot": 0}, False),
        ("type=été", {"type": "été"}, True),
        ("type=été", '{"type": "été"}'.encode(), True),
        ("user.kind=person", {"user": {"kind": "person"}}, True),
        ("user.kind=person", {"user.kind": "person"}, True),
        ("user.kind=person", {"user.kind": "person", "user": "bob"}, True),
        ("user.kind=person", {"user.kind": "bot", "user": {"kind": "person"}}, False),
        ("user.kind=person", {"user": "bob"}, False),
        ("type=view; user.kind=person", {"type": "view", "user": {"kind": "person"}}, True),
        ("type=view; user.kind=person", {"type": "view", "user": {"kind": "bot"}}, False),
    ],
)
def test_which_messages_are_clicks(where: str, message: Any, accepted: bool) -> None:
    if isinstance(message, bytes):
        click = b'{"session_id": "a7", "item_id": 5, "timestamp": 1, ' + message[1:]
    elif isinstance(message, dict):
        click = json.dumps({"session_id": "a7", "item_id": 5, "timestamp": 1} | message).encode()
    else:
        click = json.dumps(message).encode()
    assert decoded(click, click_where=where) == (("a7", 5, 1) if accepted else None)


def test_of_a_topic_with_other_messages_only_what_is_not_json_is_refused() -> None:
    where = {"click_where": "type=view", "click_fields": FIELDS}
    decode = click_decoder(settings(**where))
    assert decode(None, None) is None
    assert decode(None, b'{"type": "order", "user": null, "payload": []}') is None
    assert "not valid JSON" in reason(b"{", **where)
    assert reason({"type": "view", "user": None, "payload": {"sku": 5}, "ts": 1}, **where) == (
        "the message has no user.sid, which is its session_id"
    )


def test_the_kind_of_a_click_is_decoded_where_it_is_named() -> None:
    message = {"user": {"sid": "a7"}, "payload": {"sku": 5}, "ts": MOMENT}
    decode = click_decoder(settings(click_fields=FIELDS))
    with_kind = decode(b"a7", json.dumps(message | {"type": "cart"}).encode())
    without = decode(b"a7", json.dumps(message).encode())
    assert with_kind is not None
    assert without is not None
    assert (with_kind.event, without.event) == ("cart", None)


@pytest.mark.parametrize("event", [1.5, True, {"name": "cart"}, ["cart"], None, 2**70])
def test_a_kind_of_another_type_does_not_cost_the_click(event: Any) -> None:
    message = {"user": {"sid": "a7"}, "payload": {"sku": 5}, "ts": MOMENT, "type": event}
    assert decoded(message, click_fields=FIELDS) == ("a7", 5, MOMENT)
    click = click_decoder(settings(click_fields=FIELDS))(b"a7", json.dumps(message).encode())
    assert click is not None
    assert click.event is None or click.event == 2**70


def test_the_reason_names_the_path() -> None:
    message = {"user": {"sid": 1.5}, "payload": {"sku": 5}, "ts": 1}
    assert reason(message, click_fields=FIELDS).endswith("at `$.user.sid`, which is its session_id")
    message = {"user": {"sid": "a7"}, "payload": {"sku": ""}, "ts": 1}
    assert reason(message, click_fields=FIELDS).endswith("at `$.payload.sku`, which is its item_id")
    message = {"user": {"sid": "a7"}, "payload": {"sku": 2**63}, "ts": 1}
    assert reason(message, click_fields=FIELDS) == f"item_id {2**63} does not fit in 64 bits"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("FIELDS", "sesion_id=user.sid", "'sesion_id' is no value of a click: did you mean session_id?"),
        ("FIELDS", "session_id=", "'' is no path to session_id"),
        ("FIELDS", "session_id=user..sid", "'user..sid' is no path to session_id"),
        ("FIELDS", "item_id=a,item_id=b", "item_id is given twice"),
        ("FIELDS", "item_id=user,session_id=user.sid", "user and user.sid lead to the same value"),
        ("TIME", "millis", "'millis' is no unit or form of a time"),
        ("TIME", "%Y-%m-%d %Q", "is no format of strptime"),
        ("TIME", "%d.%m.%Y", "does not give the day and the time of day"),
        ("TIME", "%H:%M:%S", "does not give the day and the time of day"),
        ("WHERE", "type", "'type' is not FIELD=VALUE"),
        ("TIME", "%d.%m.%Y %H:%M %Z", "has %Z: names of time zones are not understood; use %z"),
        ("WHERE", "type=view,", "is not FIELD=VALUE"),
        (
            "WHERE",
            "type=view; type=cart",
            "no message meets both type=view and type=cart: for either, write type=view,cart",
        ),
        ("WHERE", " ", "' ' is no condition"),
        ("WHERE", ";", "';' is no condition"),
    ],
)
def test_a_mistake_in_a_setting_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(f"NEXTCLICK_CLICK_{name}", value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith(f"NEXTCLICK_CLICK_{name}={value!r}: ")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_time_of_the_record_contradicts_a_field_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_CLICK_TIME", "record")
    monkeypatch.setenv("NEXTCLICK_CLICK_FIELDS", "timestamp=ts")
    with pytest.raises(SettingsError, match="NEXTCLICK_CLICK_TIME=record says that messages have none"):
        load_settings()


def test_the_example_of_the_docs() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "existing-topic.md").read_text()
    found = re.findall(r"^NEXTCLICK_(CLICK_\w+)=(.*)$", docs, re.MULTILINE)
    message = re.search(r"^value  (\{.*?\})$", docs, re.MULTILINE | re.DOTALL)
    assert message is not None
    form = {name.lower(): value for name, value in found if name != "CLICKS_TOPIC"}
    assert sorted(form) == ["click_fields", "click_time", "click_where"]
    assert decoded(json.loads(message[1]), b"a7f3", **form) == ("a7f3", 214_536_502, MOMENT)


def test_without_the_settings_the_form_is_ours() -> None:
    assert click_decoder(settings()) is decode_click
    value = click_encoder(settings())("a7", 5, MOMENT)
    assert Click.model_validate_json(value).timestamp == MOMENT
    assert datetime.fromtimestamp(MOMENT / 1000, UTC).year == 2026
