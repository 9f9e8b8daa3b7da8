"""`nextclick recommendations`: recommendations as they arrive."""

from typing import TYPE_CHECKING, Annotated

import typer

from nextclick.pipes import when_reader_leaves

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from schemas.recommendation import Recommendation

SHOWN = 10
"""Items on one readable line; --json has all of them."""


def recommendations(
    session: Annotated[str | None, typer.Option(help="Only those of this session.")] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Those that are there already, too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line, as on the topic.")] = False,
) -> None:
    """Print recommendations as they arrive, until ctrl-C."""
    import asyncio
    import contextlib

    async def run() -> None:
        printing = asyncio.create_task(_print(session, from_beginning, json))
        when_reader_leaves(printing.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await printing

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


async def _print(session: str | None, from_beginning: bool, json: bool) -> None:
    from aiokafka import TopicPartition
    from pydantic import ValidationError

    from messaging.clients import admin, connected, new_consumer
    from messaging.topics import existing_topics, missing_topics
    from schemas.click import names_session
    from schemas.errors import TopicError
    from schemas.recommendation import Recommendation
    from schemas.settings import load_settings

    settings = load_settings()
    topic = settings.recommendations_topic
    async with admin(settings) as client:
        existing = await existing_topics(client, [topic])
    if topic not in existing:
        raise TopicError(missing_topics([topic], settings))
    client = new_consumer(settings, "recommendations")
    async with connected(client, settings):
        partitions = [TopicPartition(topic, number) for number in range(existing[topic].partitions)]
        client.assign(partitions)
        await (client.seek_to_beginning if from_beginning else client.seek_to_end)(*partitions)
        typer.echo(f"recommendations on topic {topic!r} at {settings.broker}; ctrl-C ends", err=True)
        wanted = session.encode() if session is not None else None
        async for record in client:
            if session is not None and record.key != wanted and not names_session(record.key or b"", session):
                continue
            try:
                answer = Recommendation.model_validate_json(record.value or b"")
            except ValidationError as error:
                typer.echo(f"no recommendation at {_place(record)}: {error.errors()[0]['msg']}", err=True)
                continue
            print(answer.model_dump_json() if json else _line(answer), flush=True)


def _place(record: "ConsumerRecord[bytes, bytes]") -> str:
    return f"partition {record.partition} offset {record.offset} of topic {record.topic!r}"


def _line(answer: "Recommendation") -> str:
    from datetime import UTC, datetime

    clicked_at = datetime.fromtimestamp(answer.timestamp / 1000, UTC)
    items = ", ".join(_items(answer)[:SHOWN])
    more = f" … {len(answer.items)} items" if len(answer.items) > SHOWN else ""
    by = f"model {answer.model_version}" if answer.source == "model" else answer.source
    if answer.neighbours_share is not None:
        by += "; in brackets what the neighbours brought of the score"
    return (
        f"{clicked_at:%Y-%m-%d %H:%M:%S} session {answer.session_id} clicked {answer.item_id} → {items or 'nothing'}"
        f"{more} ({by})"
    )


def _items(answer: "Recommendation") -> list[str]:
    if answer.neighbours_share is None:
        return [str(item) for item in answer.items]
    return [f"{item} [{share:.0%}]" for item, share in zip(answer.items, answer.neighbours_share, strict=False)]
