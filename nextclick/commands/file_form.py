"""The options of every command that reads a file of clicks: how it is written, and which of its rows are clicks."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from clicklog.reading.form import FileForm
from schemas.errors import ClicksError

FORM = "form"

Where = Annotated[
    list[str] | None,
    typer.Option(
        help="Only rows with one of these values in a column: event_type=view,cart. If given several times, all must "
        "hold.",
        show_default=False,
    ),
]
SkipInvalid = Annotated[
    bool, typer.Option("--skip-invalid", help="Leave out rows that are no valid click, and say how many.")
]
Quote = Annotated[
    str | None,
    typer.Option(help="Sign around fields of a CSV file, or none; found out by default.", show_default=False),
]
Encoding = Annotated[
    str | None,
    typer.Option(help="Of a CSV file: windows-1252, utf-16, …; UTF-8 by default.", show_default=False),
]

_OPTIONS: dict[str, tuple[Any, Any]] = {
    "where": (Where, None),
    "skip_invalid": (SkipInvalid, False),
    "quote": (Quote, None),
    "encoding": (Encoding, None),
}


def takes_file_form(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter `form` by the four options that it is read from."""

    @wraps(command)
    def run(**values: Any) -> None:
        where, skip_invalid, quote, encoding = (values.pop(name) for name in _OPTIONS)
        try:
            form = FileForm.of(quote, encoding, where or (), skip_invalid)
        except ClicksError as error:
            raise typer.BadParameter(str(error)) from error
        command(**values, **{FORM: form})

    signature = inspect.signature(command)
    parameters = [parameter for name, parameter in signature.parameters.items() if name != FORM]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _OPTIONS.items()
    ]
    run.__signature__ = signature.replace(parameters=[*parameters, *options])  # type: ignore[attr-defined]
    return run
