"""`nextclick settings`: every setting, its present value and its meaning."""

import re
from datetime import timedelta
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from nextclick.commands.tables import print_table
from schemas.durations import duration_text
from schemas.settings import PREFIX, Settings, load_settings

PLAIN = re.compile(r"[\w@%+=:,./-]*")
"""What a shell takes as it is."""


def settings() -> None:
    """List every setting with its present value and its meaning; in a pipe, as lines of a .env file."""
    values = load_settings()
    rows = [
        (PREFIX + name.upper(), _text(getattr(values, name)), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    if not Console().is_terminal:
        for name, value, meaning in rows:
            typer.echo(f"{name}={_quoted(value)}  # {meaning}" if value else f"# {name}=  # {meaning}")
        return
    table = Table(title="Settings (environment or .env)")
    table.add_column("setting", no_wrap=True)
    table.add_column("value")
    table.add_column("meaning")
    for row in rows:
        table.add_row(*row)
    print_table(table)


def _text(value: Any) -> str:
    """A value as a setting is written; empty for one that is not set."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return duration_text(value) if isinstance(value, timedelta) else str(value)


def _quoted(value: str) -> str:
    """A value as a shell and a .env file read it."""
    if PLAIN.fullmatch(value):
        return value
    if "'" not in value and "\\" not in value:
        return f"'{value}'"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
