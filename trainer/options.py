"""The options of a training run as `FitConfig` and `TrainConfig` define them, for whoever reads or shows them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args, get_type_hints

from pydantic.fields import FieldInfo

from trainer.config import BLEND, FitConfig, Help, TrainConfig


@dataclass(frozen=True)
class Option:
    """An option of `train`.

    Attributes:
        field: name of its field in `FitConfig` or `TrainConfig`.
        type: int, float, or a `Literal`.
        default: the field's.
        help: what the command line says of it.
        low: the command line's lower end, included; None where there is none.
        high: the same of the upper end.
        used_with: see `Help`.
        families: see `Help`.
    """

    field: str
    type: Any
    default: Any
    help: str
    low: float | None
    high: float | None
    used_with: tuple[str, tuple[str, ...]] | None
    families: tuple[str, ...]

    @property
    def name(self) -> str:
        """As TOML and the command line have it: `batch-size`."""
        return self.field.replace("_", "-")

    def is_of_family(self, values: Mapping[str, Any]) -> bool:
        """Whether trainings of the family in these values, by field, use this option."""
        return any(family in self.families for family in families_of(values))

    def is_used(self, values: Mapping[str, Any]) -> bool:
        """Whether a training with these values, by field, looks at this option."""
        if not self.is_of_family(values):
            return False
        return self.used_with is None or values[self.used_with[0]] in self.used_with[1]

    def refusal(self, values: Mapping[str, Any]) -> str:
        """What to tell a user who gave the option to a training, with these values by field, that does not use it."""
        other, theirs = "family", self.families
        mine = values["family"]
        if mine == BLEND:
            mine = f"{mine} of {values['network']} and {values['neighbours']}"
        if self.is_of_family(values):
            assert self.used_with is not None
            other, theirs = self.used_with
            mine = values[other]
        return f"{self.name} {values[self.field]} belongs to {_listed(theirs)}, and the {other} is {mine}: leave it out"


def families_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The family in these values, by field; of a blend also those of its parts."""
    family = values["family"]
    return (family, values["network"], values["neighbours"]) if family == BLEND else (family,)


def _listed(names: tuple[str, ...]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def option_values(config: TrainConfig) -> dict[str, Any]:
    """Values by field, those of `config.fit` among the others."""
    values = asdict(config)
    values |= values.pop("fit")
    return values


def used_values(config: TrainConfig) -> dict[str, Any]:
    """`option_values` without the options that no training with the others' values looks at."""
    values = option_values(config)
    unused = {option.field for option in OPTIONS if not option.is_used(values)}
    return {name: value for name, value in values.items() if name not in unused}


def _options(config: type) -> Iterator[Option]:
    hints = get_type_hints(config, include_extras=True)
    for field in fields(config):
        about = getattr(hints[field.name], "__metadata__", ())
        told = next((entry for entry in about if isinstance(entry, Help)), None)
        if told is not None:
            low = _end("ge", about) if told.low is None else told.low
            high = _end("le", about) if told.high is None else told.high
            kind = get_args(hints[field.name])[0]
            yield Option(field.name, kind, field.default, told.text, low, high, told.used_with, told.families)


def _end(name: str, about: tuple[Any, ...]) -> float | None:
    """The end of a closed range, `ge` or `le`, of a field with these annotations."""
    ranges = (one for entry in about if isinstance(entry, FieldInfo) for one in entry.metadata)
    return next((getattr(one, name) for one in ranges if hasattr(one, name)), None)


OPTIONS = (*_options(FitConfig), *_options(TrainConfig))
"""All of them, in the order of the fields."""
