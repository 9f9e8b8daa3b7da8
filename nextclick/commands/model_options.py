"""The options of a training run on the command line: one parameter for each of `trainer.options.OPTIONS`."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import SettingsError, TrainingError
from trainer.config import BLEND, NETWORKS
from trainer.options import OPTIONS, Option, option_values
from trainer.preset_files import PRESETS

if TYPE_CHECKING:
    from trainer.config import TrainConfig


def takes_model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the last parameter of a command, `**options`, by one parameter for each of `OPTIONS`.

    Typer builds the command line from the function's signature, so this generates the signature instead of writing it
    by hand. The command gets the values under the names of the fields, None for an option that was not given: its
    default depends on the family, and some options belong to some values of another one.
    """
    *own, others = inspect.signature(command).parameters.values()
    assert others.kind is inspect.Parameter.VAR_KEYWORD
    command.__signature__ = inspect.Signature([*own, *map(_parameter, OPTIONS)])  # type: ignore[attr-defined]
    return command


def _parameter(option: Option) -> inspect.Parameter:
    if option.used_with is None and set(NETWORKS) <= set(option.families):
        text = f"{option.help} \\[default: {option.default}]"  # the backslash: it is no markup
    else:
        text = f"{option.help}, {option.default} by default."
    declared = typer.Option(min=option.low, max=option.high, help=text)
    return inspect.Parameter(
        option.field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[option.type | None, declared]
    )


def config_of(options: Mapping[str, Any], device: str) -> "TrainConfig":
    """The configuration of a training with these options by field; the defaults of the family for those that are None.

    Raises:
        TrainingError: names an option that was given and that the others make ineffective.
        SettingsError: an option belongs to another family.
    """
    from trainer.config import TrainConfig
    from trainer.settings_file import with_options

    given = {name: value for name, value in options.items() if value is not None}
    config = with_options(TrainConfig(device=device), given)
    values = option_values(config)
    for option in OPTIONS:
        if option.field in given and not option.is_used(values):
            raise TrainingError(f"--{option.refusal(values)}")
    if config.input == "one-hot" and config.fit.dropout_embedding:
        raise TrainingError("--dropout-embedding drops units of an item's embedding, and one-hot input has none")
    return config


def is_of_networks_only(field: str) -> bool:
    """Whether only trainings of networks use the option of this field; a blend has its own use for `validate`."""
    of_networks = {option.field for option in OPTIONS if set(option.families) <= set(NETWORKS)} - {"validate"}
    return field in of_networks


def check_no_network_options(options: Mapping[str, Any]) -> None:
    """Refuse, beside --network-from, options that only the training of a network uses.

    Raises:
        TrainingError: names the option; or the family is no blend.
    """
    if options["family"] != BLEND:
        raise TrainingError(f"--network-from is for blends: give --family {BLEND}")
    for option in OPTIONS:
        of_networks = option.field == "network" or is_of_networks_only(option.field)
        if of_networks and options[option.field] is not None:
            raise TrainingError(
                f"--{option.name} {options[option.field]} is for the training of a network, and --network-from takes "
                "one that is trained: leave it out"
            )


def read_preset(context: typer.Context, name: str | None) -> str | None:
    """Take the options of a preset as defaults; the command line wins, and so does a file of `--config`.

    Raises:
        typer.BadParameter: there is no preset of that name.
    """
    if name is None or context.resilient_parsing:
        return name
    if name not in PRESETS:
        raise typer.BadParameter(f"there is no preset {name!r}, only {', '.join(PRESETS)}")
    from trainer.settings_file import read_options

    options = read_options(PRESETS[name])
    values = {option.replace("-", "_"): value for option, value in options.items()}
    context.default_map = {**values, **(context.default_map or {})}
    return name


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
    known = {str(parameter.name) for parameter in context.command.params} - {"config", "help", "preset"}
    unknown = [name for name in options if name.replace("-", "_") not in known]
    if unknown:
        names = ", ".join(sorted(name.replace("_", "-") for name in known))
        raise SettingsError(f"--config {path}: {', '.join(unknown)} is no option of train: it takes {names}")
    context.default_map = {**(context.default_map or {}), **values}
    return path
