"""The options of a training run on the command line: one parameter for each of `trainer.options.OPTIONS`."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import SettingsError, TrainingError
from trainer.options import OPTIONS, Option


def takes_model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the last parameter of a command, `**options`, by one parameter for each of `OPTIONS`.

    Typer builds the command line from the function's signature, so this generates the signature instead of writing it
    by hand. The command gets the values under the names of the fields. If `Option.used_with` restricts an option to
    some values of another one, the parameter's default is None: this shows whether the option was given.
    """
    *own, others = inspect.signature(command).parameters.values()
    assert others.kind is inspect.Parameter.VAR_KEYWORD
    command.__signature__ = inspect.Signature([*own, *map(_parameter, OPTIONS)])  # type: ignore[attr-defined]
    return command


def _parameter(option: Option) -> inspect.Parameter:
    kind, default, text = option.type, option.default, option.help
    if option.used_with is not None:
        kind, default, text = kind | None, None, f"{text}, {default} by default."
    declared = typer.Option(min=option.low, max=option.high, help=text, show_default=default is not None)
    return inspect.Parameter(
        option.field, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared]
    )


def given_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given; refuses an option that the others would make ineffective.

    Raises:
        TrainingError: names an option that was given and what it belongs to.
    """
    for option in OPTIONS:
        if option.used_with is not None and values[option.field] is not None and not option.is_used(values):
            other, theirs = option.used_with
            raise TrainingError(
                f"--{option.name} {values[option.field]} belongs to {' and '.join(theirs)}, and the {other} is "
                f"{values[other]}: leave it out"
            )
    if values["input"] == "one-hot" and values["dropout_embedding"]:
        raise TrainingError("--dropout-embedding drops units of an item's embedding, and one-hot input has none")
    return {name: value for name, value in values.items() if value is not None}


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options of a TOML file as defaults; the command line wins.

    Raises:
        SettingsError: the file cannot be read, or has a name that is not an option.
    """
    if path is None or context.resilient_parsing:
        return path
    from trainer.settings_file import read_options

    try:
        options = read_options(path)
    except SettingsError as error:
        raise SettingsError(f"--config {error}") from error
    values = {name.replace("-", "_"): value for name, value in options.items()}
    known = {str(parameter.name) for parameter in context.command.params} - {"config", "help"}
    unknown = [name for name in options if name.replace("-", "_") not in known]
    if unknown:
        names = ", ".join(sorted(name.replace("_", "-") for name in known))
        raise SettingsError(f"--config {path}: {', '.join(unknown)} is no option of train: it takes {names}")
    context.default_map = {**(context.default_map or {}), **values}
    return path
