"""`nextclick topics`: creates and checks the topics of the settings."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from messaging.contracts import TopicContract


def topics(
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line and topic.")] = False,
) -> None:
    """Create the topics that are missing, and add partitions where NEXTCLICK_PARTITIONS says more than exist.

    Says which topics have other properties than the settings say. Add partitions to all topics by this command only:
    clicks, recommendations, clicks-rejected and the changelog must have equally many. Sessions whose key moves to
    another partition begin anew.

    Of a topic that works, but differs from what a new one gets, a warning says what to change; the exit code is 0.
    """
    import asyncio

    asyncio.run(_topics(json))


async def _topics(json: bool) -> None:
    from messaging.clients import admin
    from messaging.contracts import topic_contracts
    from messaging.topics import (
        add_partitions,
        create_topics,
        different_topics,
        existing_topics,
        hidden_topics,
        topic_advice,
        topic_differences,
    )
    from schemas.errors import TopicError
    from schemas.settings import load_settings

    settings = load_settings()
    contracts = topic_contracts(settings)
    async with admin(settings) as client:
        existing = await existing_topics(client, [contract.name for contract in contracts])
        created = await create_topics(client, [contract for contract in contracts if contract.name not in existing])
        grown = {
            contract.name: contract.partitions
            for contract in contracts
            if contract.name in existing and existing[contract.name].partitions < contract.partitions
        }
        await add_partitions(client, grown)
        existing |= await existing_topics(
            client, [c.name for c in contracts if c.name in grown or c.name not in existing]
        )
        hidden = [contract.name for contract in contracts if contract.name not in existing]
    if hidden:
        raise TopicError(hidden_topics(hidden, settings))
    different = {c.name: topic_differences(c, existing[c.name]) for c in contracts}
    different = {name: phrases for name, phrases in different.items() if phrases}
    advice = {c.name: topic_advice(c, existing[c.name], settings) for c in contracts}

    def state(name: str) -> str:
        return (
            "created" if name in created else
            "different" if name in different else
            "partitions added" if name in grown else
            "see warning" if advice.get(name) else "as it should be"
        )  # fmt: skip

    rows = [(contract, existing[contract.name], state(contract.name)) for contract in contracts]
    if json:
        _print_json(rows)
    else:
        _print_table(rows, settings.broker)
    for line in filter(None, advice.values()):
        typer.echo(f"nextclick: warning: {line}", err=True)
    if different:
        raise TopicError(different_topics(different, settings))


def _print_json(rows: "list[tuple[TopicContract, TopicContract, str]]") -> None:
    import json

    for contract, found, state in rows:
        config = {key: found.whole_config.get(key) for key in contract.whole_config}
        about = {"topic": found.name, "partitions": found.partitions, "replicas": found.replication, "config": config}
        typer.echo(json.dumps(about | {"state": state}))


def _print_table(rows: "list[tuple[TopicContract, TopicContract, str]]", broker: str) -> None:
    from rich.table import Table

    from nextclick.commands.tables import print_table

    table = Table("topic", "partitions", "replicas", "configuration", "state", title=f"Topics at {broker}")
    for contract, found, state in rows:
        config = ", ".join(f"{key}={found.whole_config.get(key)}" for key in contract.whole_config)
        table.add_row(found.name, str(found.partitions), str(found.replication), config, state)
    print_table(table)
