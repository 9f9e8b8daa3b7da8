"""`nextclick rejected`: which messages were refused, and why."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from nextclick.rejected import Example, Refusals

KEY_SHOWN, SHOWN = 64, 160
"""Bytes of a key and of a value on a line; --json has `JSON_SHOWN`."""

JSON_SHOWN = 4096


def rejected(
    since: Annotated[
        str | None,
        typer.Option(
            help="Only messages refused in this last time, such as 3h or 7d, or since a time such as "
            "2026-11-28T14:00Z; all by default."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most examples of each reason: the last ones.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the messages that are no valid click, by reason, with examples."""
    import asyncio
    import time

    from nextclick.commands.options import read_begin
    from nextclick.rejected import read_rejected
    from schemas.settings import load_settings

    settings = load_settings()
    begin = None if since is None else read_begin(since, "--since", round(time.time() * 1000))
    found = asyncio.run(read_rejected(settings, begin, limit))
    if json:
        _print_json(settings.rejected_topic, found)
        return
    total = sum(group.count for group in found.values())
    span = "" if since is None else f" since {since}"
    ways = f", for {len(found)} reason{'s' if len(found) > 1 else ''}" if found else ""
    typer.echo(f"{total:,} message{'' if total == 1 else 's'} on topic {settings.rejected_topic!r}{span}{ways}")
    for reason, group in found.items():
        _print_group(reason, group)


def _print_group(reason: str, group: "Refusals") -> None:
    from schemas.errors import printable

    typer.echo(f"\n{group.count:,} × {printable(reason)}")
    typer.echo(f"    from {_utc(group.first)} to {_utc(group.last)}")
    for example in group.examples:
        key, value = _text(example.key, KEY_SHOWN), _text(example.value, SHOWN)
        typer.echo(f"    {example.topic} {example.id}  key {key}  value {value}")


def _print_json(topic: str, found: "dict[str, Refusals]") -> None:
    import json

    reasons = [
        {
            "reason": reason,
            "count": group.count,
            "first": group.first,
            "last": group.last,
            "examples": [_as_json(example) for example in group.examples],
        }
        for reason, group in found.items()
    ]
    messages = sum(group.count for group in found.values())
    typer.echo(json.dumps({"topic": topic, "messages": messages, "reasons": reasons}, ensure_ascii=False))


def _as_json(example: "Example") -> dict[str, Any]:
    texts = {
        name: None if part is None else part[:JSON_SHOWN].decode(errors="backslashreplace")
        for name, part in (("key", example.key), ("value", example.value))
    }
    return {
        "id": example.id,
        "topic": example.topic,
        "rejected_at": example.rejected_at,
        "reason": example.reason,
        **texts,
    }


def _text(part: bytes | None, longest: int) -> str:
    """The beginning of a key or value, on one line."""
    from schemas.errors import printable

    if part is None:
        return "none"
    text = part[:longest].decode(errors="backslashreplace")
    return printable(text, 4 * longest) + ("…" if len(part) > longest else "")


def _utc(timestamp: int) -> str:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):  # after the year 9999: a producer may set any time
        return f"{timestamp} ms since 1970"
