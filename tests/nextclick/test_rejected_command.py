"""`nextclick rejected` shows what a worker refused, by reason."""

import asyncio
import json
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

import nextclick.rejected
from nextclick.commands.rejected import _utc
from nextclick.rejected import OTHER_REASONS, Example, Refusals, group_of, without_values
from schemas.settings import Settings


@pytest.mark.parametrize(
    ("reason", "general"),
    [
        ("the message's key 'a \\'b' is not the session id 'c'…", "the message's key … is not the session id …"),
        ("the message's key \"it's\" is not the session id '7'", "the message's key … is not the session id …"),
        (
            "timestamp 1969-01-01T00:00:00+00:00 lies outside 1970 to 9999",
            "timestamp … lies outside … to …",
        ),
        (
            "Expected `int | str`, got `null` - at `$.items[3].id`",
            "Expected `int | str`, got `null` - at `$.items[3].id`",
        ),
        ("item_id -9223372036854775809 does not fit in 64 bits", "item_id … does not fit in … bits"),
        (
            "not valid UTF-8: 'utf-8' codec can't decode byte 0xff by 'x'",
            "not valid UTF-8: … codec can't decode byte … by …",
        ),
        (
            "the message has no user.sid, which is its session_id",
            "the message has no user.sid, which is its session_id",
        ),
        ("the message's key '`1`' is not the session id '`2'", "the message's key … is not the session id …"),
    ],
)
def test_reasons_that_differ_in_values_are_one(reason: str, general: str) -> None:
    assert without_values(reason) == general


def test_a_time_after_the_year_9999_is_shown() -> None:
    assert _utc(1_772_368_200_250) == "2026-03-01 12:30:00 UTC"
    assert _utc(2**62) == f"{2**62} ms since 1970"


def test_reasons_of_other_programs_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nextclick.rejected, "MOST_REASONS", 2)
    found: dict[str, Refusals] = {}
    for reason in ("a", "b", "c", "a", "d"):
        group_of(found, reason).add(Example("0-1", "clicks", 1, reason, None, None), 3)
    assert {name: group.count for name, group in found.items()} == {"a": 2, "b": 1, OTHER_REASONS: 2}


Message = tuple[bytes | None, bytes | None, str]


def refuse(settings: Settings, *messages: Message) -> None:
    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.brokers) as producer:
            for number, (key, value, reason) in enumerate(messages):
                headers = [
                    ("reason", b"of the message as received"),
                    ("reason", reason.encode()),
                    ("topic", b"events"),
                    ("partition", b"3"),
                    ("offset", str(1000 + MESSAGES.index(messages[number])).encode()),
                    ("log", b""),
                ]
                await producer.send_and_wait(settings.rejected_topic, value, key, number % 4, headers=headers)

    asyncio.run(send())


MESSAGES = [
    *(
        (f"k{number}".encode(), b"{}", f"the message's key 'k{number}' is not the session id '{number}'")
        for number in range(5)
    ),
    (None, b"x" * 500, "the message has no key: the key must be the session id"),
    (b"\xff\x00", b"line 1\nline 2", "timestamp 5 is wrong"),
]


def test_what_was_refused_is_shown_by_reason(kafka_settings: Settings, command_line: Any) -> None:
    code, output, errors = command_line.run("rejected", settings=kafka_settings)
    assert (code, output, errors) == (0, f"0 messages on topic '{kafka_settings.rejected_topic}'\n", "")
    refuse(kafka_settings, MESSAGES[0])
    code, output, errors = command_line.run("rejected", settings=kafka_settings)
    assert output.startswith(f"1 message on topic '{kafka_settings.rejected_topic}', for 1 reason\n")
    refuse(kafka_settings, *MESSAGES[1:])
    code, output, errors = command_line.run("rejected", "--limit", "2", settings=kafka_settings)
    assert (code, errors) == (0, "")
    head, keys, *others = output.split("\n\n")
    assert head == f"7 messages on topic '{kafka_settings.rejected_topic}', for 3 reasons"
    first, span, *examples = keys.splitlines()
    assert first == "5 × the message's key … is not the session id …"
    assert span.startswith("    from 20")
    assert sorted(examples) == [f"    events 3-{1000 + n}  key k{n}  value {{}}" for n in (3, 4)]
    lines = "\n".join(others).splitlines()
    assert "1 × the message has no key: the key must be the session id" in lines
    assert f"    events 3-1005  key none  value {'x' * 160}…" in lines
    assert "1 × timestamp 5 is wrong" in lines
    assert r"    events 3-1006  key \xff\x00  value line 1 line 2" in lines

    code, output, _ = command_line.run("rejected", "--json", settings=kafka_settings)
    found = json.loads(output)
    assert (code, found["messages"], [reason["count"] for reason in found["reasons"]]) == (0, 7, [5, 1, 1])
    example = found["reasons"][0]["examples"][0]
    assert example["topic"] == "events"
    assert example["reason"] == f"the message's key {example['key']!r} is not the session id {example['key'][1:]!r}"

    code, output, _ = command_line.run("rejected", "--since", "2100-01-01T00:00Z", settings=kafka_settings)
    assert (code, output.splitlines()) == (
        0,
        [f"0 messages on topic '{kafka_settings.rejected_topic}' since 2100-01-01T00:00Z"],
    )
