"""Decoding a click, with equal strictness: pydantic, msgspec (what the worker calls), and orjson with pydantic.

The last rows decode the same clicks in another program's form, as the settings NEXTCLICK_CLICK_… say.

    uv run python -m benchmarks.decode

The row with orjson is left out where it is not installed; nextclick does not use it. All of them check types, lengths
and ranges, and that the key is the session id.
"""

import importlib.util
import json
from collections.abc import Callable
from statistics import median
from time import thread_time
from typing import Any

from benchmarks.contestants import machine
from schemas.click import Click, DecodeClick, DecodedClick, decode_click
from schemas.click_decoder import click_decoder
from schemas.click_encoder import click_encoder
from schemas.settings import Settings

Decode = Callable[[bytes, bytes], Click | DecodedClick]

CLICKS = 2_000
ROUNDS = 25


def by_pydantic(key: bytes, value: bytes) -> Click:
    return with_its_key(key, Click.model_validate_json(value))


def with_its_key(key: bytes, click: Click) -> Click:
    if str(click.session_id).encode() != key:
        raise ValueError("the message's key is not the session id")
    return click


MAPPED = {"click_fields": "session_id=user.sid,item_id=payload.sku,timestamp=ts,event=type", "click_time": "iso8601"}
FORMS = {
    "click_decoder: nested fields": MAPPED,
    "click_decoder: nested fields, 1 condition": MAPPED | {"click_where": "type=view"},
    "click_decoder: passed over by the condition": MAPPED | {"click_where": "type=order"},
}


def mapped_ways() -> dict[str, DecodeClick]:
    return {name: click_decoder(Settings(_env_file=None, **form)) for name, form in FORMS.items()}  # type: ignore[call-arg, arg-type]


def mapped(clicks: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The same clicks in another program's form."""
    encode = click_encoder(Settings(_env_file=None, **FORMS["click_decoder: nested fields, 1 condition"]))  # type: ignore[call-arg, arg-type]
    own = [decode_click(key, value) for key, value in clicks]
    return [(click.session_key, encode(click.session_id, click.item_id, click.timestamp)) for click in own]


def ways() -> dict[str, Decode]:
    found: dict[str, Decode] = {
        "pydantic: Click.model_validate_json": by_pydantic,
        "msgspec: decode_click": decode_click,
    }
    if importlib.util.find_spec("orjson"):
        loads = importlib.import_module("orjson").loads
        found["orjson, then Click.model_validate"] = lambda key, value: with_its_key(
            key, Click.model_validate(loads(value))
        )
    return found


def samples() -> list[tuple[bytes, bytes]]:
    """Keys and values as a shop sends them: number ids, text ids, ISO 8601 times, an additional field."""
    clicks: list[tuple[bytes, bytes]] = []
    for number in range(CLICKS // 4):
        forms: list[dict[str, int | str]] = [
            {"session_id": number, "item_id": 214_000_000 + number, "timestamp": 1_754_000_000_000 + number},
            {"session_id": f"visit-{number}", "item_id": f"shoe-{number}", "timestamp": 1_754_000_000_000 + number},
            {"session_id": number, "item_id": f"sku {number}", "timestamp": "2026-03-01T12:30:00.250Z"},
            {
                "session_id": f"{number:032x}",
                "item_id": number,
                "timestamp": number,
                "referrer": "https://shop.example",
            },
        ]
        clicks += [(str(form["session_id"]).encode(), json.dumps(form).encode()) for form in forms]
    return clicks


def main() -> None:
    clicks = samples()
    contestants: dict[str, tuple[Callable[[bytes, bytes], Any], list[tuple[bytes, bytes]]]] = {
        **{name: (decode, clicks) for name, decode in ways().items()},
        **{name: (decode, mapped(clicks)) for name, decode in mapped_ways().items()},
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, (decode, messages) in contestants.items():
            begin = thread_time()
            for key, value in messages:
                decode(key, value)
            times[name].append((thread_time() - begin) / len(messages) * 1e6)
    first = median(next(iter(times.values())))
    print(f"{machine()}\n\n| | CPU µs per click (smallest) | to pydantic |\n|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {median(values):.2f} ({min(values):.2f}) | {first / median(values):.2f} × |")


if __name__ == "__main__":
    main()
