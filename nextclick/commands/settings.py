"""`nextclick settings`: every setting, its present value and its meaning."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from nextclick.commands.tables import print_table
from schemas.durations import duration_text
from schemas.settings import PREFIX, Settings, load_settings

PLAIN = re.compile(r"[\w@%+=:,./-]*")
"""What a shell takes as it is."""

NOT_SHOWN = "set, not shown"
"""In place of a secret."""

PAGE = """\
# Settings

Every setting is an environment variable, or a line of a `.env` file in the working directory; the environment wins. A
misspelt name stops every command. `nextclick settings` prints the present values; in a pipe, as lines that can be
pasted into a shell or a `.env` file, without secrets. `nextclick settings --markdown` writes this page.

| setting | default | meaning |
|---|---|---|
"""


def settings(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="The page docs/settings.md: defaults, not present values.")
    ] = False,
) -> None:
    """List every setting with its present value and its meaning; in a pipe, as lines for a .env file or a shell."""
    if markdown:
        typer.echo(_page(), nl=False)
        return
    values = load_settings()
    if not Console().is_terminal:
        for line in _lines(values):
            typer.echo(line)
        return
    table = Table(title="Settings (environment or .env)")
    table.add_column("setting", no_wrap=True)
    table.add_column("value")
    table.add_column("meaning")
    for name, field in Settings.model_fields.items():
        value = getattr(values, name)
        table.add_row(_variable(name), NOT_SHOWN if _is_secret(value) else _text(value), field.description or "")
    print_table(table)


def _page() -> str:
    """All settings with their defaults, for the docs."""
    rows = [
        f"| `{_variable(name)}` | {_code(_text(field.default))} | {_cell(field.description)} |\n"
        for name, field in Settings.model_fields.items()
    ]
    return PAGE + "".join(rows)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def _lines(values: Settings) -> Iterator[str]:
    """One line per setting; a comment for a setting without a value, and for a secret."""
    for name, field in Settings.model_fields.items():
        value, variable, meaning = getattr(values, name), _variable(name), field.description
        text = "" if _is_secret(value) else _text(value)
        if _is_secret(value):
            yield f"# {variable}=  # {NOT_SHOWN}; {meaning}"
        elif not text:
            yield f"# {variable}=  # {meaning}"
        elif _for_a_shell_only(text):
            yield f"{variable}={_in_single_quotes(text)}  # {meaning}"
            typer.echo(
                f"nextclick: warning: the line of {variable} is for a shell: a .env file cannot hold this value",
                err=True,
            )
        else:
            yield f"{variable}={_quoted(text)}  # {meaning}"


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _is_secret(value: Any) -> bool:
    """Whether a value is a secret; an empty one is none."""
    return isinstance(value, SecretStr) and bool(value.get_secret_value())


def _text(value: Any) -> str:
    """A value as a setting is written; empty for one that is not set, and for a secret."""
    if value is None or isinstance(value, SecretStr):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return duration_text(value) if isinstance(value, timedelta) else str(value)


def _for_a_shell_only(value: str) -> bool:
    """Whether no text has this value both in a shell and in a .env file.

    A .env file replaces `${…}` between all quotes, and its single quotes cannot hold a quote or a backslash as a
    shell's can. A shell replaces `$` and backticks between double quotes, and `!` when it is typed.
    """
    if "${" in value or any(ord(sign) < 32 for sign in value):
        return True
    return bool(set(value) & set("'\\")) and bool(set(value) & set("$`!"))


def _quoted(value: str) -> str:
    """A value as a shell and a .env file read it."""
    if PLAIN.fullmatch(value):
        return value
    if "'" not in value and "\\" not in value:
        return f"'{value}'"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _in_single_quotes(value: str) -> str:
    return "'" + value.replace("'", "'\"'\"'") + "'"
