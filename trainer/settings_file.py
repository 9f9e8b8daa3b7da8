"""Reads and writes the options of `nextclick train` as a TOML file.

learning-rate = 0.05
batch-size = 128
samples = 512
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from schemas.errors import SettingsError
from trainer.config import BLEND, NETWORKS, FitConfig, TrainConfig
from trainer.options import OPTIONS, option_values
from trainer.presets import FAMILY_DEFAULTS, blend_defaults

FIT = tuple(field.name for field in fields(FitConfig))
WHOLE = tuple(field.name for field in fields(TrainConfig) if field.name != "fit")
_FILE = ("where", "skip_invalid", "quote", "encoding")
RUN = ("clicks", "split", "since", "until", "session_gap", "out", "publish", "checkpoint", "network_from", *_FILE)
"""Options of `train` that say what to read and where to write. A file may contain them; they are ignored here."""

_WHOLE = TypeAdapter(TrainConfig)


def read_train_config(path: Path, base: TrainConfig | None = None) -> TrainConfig:
    """Read the options of `train` that decide what is trained.

    Args:
        path: a TOML file that `nextclick train --config` takes.
        base: values of the options that the file does not name; None for the defaults of `train`.

    Raises:
        SettingsError: the file cannot be read, it names an unknown option, or a value has the wrong type or range.
    """
    options = read_options(path)
    try:
        return with_options(base or TrainConfig(), options)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def read_options(path: Path) -> dict[str, Any]:
    """Read names and values from a TOML file as they stand there.

    Raises:
        SettingsError: the file cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def with_options(config: TrainConfig, options: Mapping[str, Any]) -> TrainConfig:
    """A copy with some options changed, named as on the command line of `train` (learning-rate or learning_rate).

    If the family changes, the options that are not given are the defaults of the new family, except those that `config`
    has otherwise than the defaults of its own family.

    Raises:
        SettingsError: a name is not an option of `train`, or only of another family, or a value has the wrong type or
            range; or a blend has no validation part.
    """
    values = {name.replace("-", "_"): value for name, value in options.items()}
    family, network = values.get("family", config.family), values.get("network", config.network)
    if (family, network) != (config.family, config.network):
        config = _with_defaults_of(family, network, config)
    unknown = [name for name in options if name.replace("-", "_") not in (*FIT, *WHOLE, *RUN)]
    if unknown:
        known = ", ".join(sorted(name.replace("_", "-") for name in (*FIT, *WHOLE)))
        raise SettingsError(f"{', '.join(unknown)} is no option of a model: there are {known}")
    given = asdict(config)
    given["fit"] |= {name: value for name, value in values.items() if name in FIT}
    given |= {name: value for name, value in values.items() if name in WHOLE}
    try:
        changed = _WHOLE.validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][-1]).replace("_", "-")
        raise SettingsError(f"{name} = {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}") from error
    resolved = option_values(changed)
    for option in OPTIONS:
        if option.field in values and not option.is_of_family(resolved):
            raise SettingsError(option.refusal(resolved))
    changed.check_validation()
    return changed


def _with_defaults_of(family: Any, network: Any, config: TrainConfig) -> TrainConfig:
    """The config with other families; itself if they do not exist, which is said when the values are checked."""
    if family == BLEND and network in NETWORKS:
        new = blend_defaults(network)
    elif isinstance(family, str) and family in FAMILY_DEFAULTS and family != BLEND:
        new = FAMILY_DEFAULTS[family]
    else:
        return config
    usual = option_values(blend_defaults(config.network) if config.family == BLEND else FAMILY_DEFAULTS[config.family])
    own = {name: value for name, value in option_values(config).items() if value != usual[name]}
    fit = replace(new.fit, **{name: own[name] for name in FIT if name in own})
    return replace(new, fit=fit, **{name: own[name] for name in WHOLE if name in own})


def train_options(config: TrainConfig) -> dict[str, Any]:
    """The options as `train` names them; not the seed, the device, and what loss and optimiser do not use."""
    values = option_values(config)
    return {one.name: values[one.field] for one in OPTIONS if one.field != "seed" and one.is_used(values)}


def recorded_options(config: TrainConfig) -> dict[str, Any]:
    """`train_options` for the keys of kept results: what came after version 0.1 is left out at its default.

    So the results of that version are found again.
    """
    added = {"family": "gru4rec", "validate": 0.0, "top-negatives": 0}
    return {name: value for name, value in train_options(config).items() if added.get(name) != value}


def write_train_config(options: Mapping[str, Any], path: Path, comment: str = "") -> None:
    """Write options for `nextclick train --config`.

    Raises:
        SettingsError: the file cannot be written.
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    # JSON and TOML write numbers and strings alike.
    lines += [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror or error}") from error
