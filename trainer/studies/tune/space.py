"""The search space: for each searched option of `train` a range or a list of values.

learning-rate=0.01..0.3        any number in the range; on a logarithmic scale if the range is wide and starts above 0
hidden=64..256                 the same with integers, if the option is an integer
samples=256|512|2048           one of these values
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankers.families import is_counted
from schemas.errors import SettingsError
from trainer.config import BLEND, TrainConfig
from trainer.options import option_values
from trainer.settings_file import train_options, with_options

if TYPE_CHECKING:
    import optuna

NOT_SEARCHED = ("family", "network", "neighbours", "epochs", "validate", "min-support", "min-length")
"""The search finds the number of epochs anyway; with different filters the figures could not be compared."""

LOGARITHMIC_FROM = 8.0
"""A range is searched on a logarithmic scale if its upper end is at least this many times its lower end."""


@dataclass(frozen=True)
class Range:
    """Any number from low to high; only integers if both ends are integers."""

    low: float
    high: float

    def suggest(self, trial: "optuna.Trial", name: str) -> float:
        """Let a trial choose."""
        logarithmic = self.low > 0 and self.high / self.low >= LOGARITHMIC_FROM
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=logarithmic)
        return trial.suggest_float(name, self.low, self.high, log=logarithmic)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"


@dataclass(frozen=True)
class Choice:
    """One of the given values."""

    values: tuple[Any, ...]

    def suggest(self, trial: "optuna.Trial", name: str) -> Any:
        """Let a trial choose."""
        return trial.suggest_categorical(name, self.values)

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return "|".join(map(str, self.values))


Space = Mapping[str, Range | Choice]


def default_space(config: TrainConfig) -> dict[str, Range | Choice]:
    """The options that matter most in practice, without those that the family, loss, optimiser or input do not use.

    Of a blend those of both parts.
    """
    if config.family == BLEND:
        network, neighbours = config.parts
        return default_space(network) | default_space(neighbours)
    if is_counted(config.family):
        every: dict[str, Range | Choice] = {
            "k": Choice((50, 100, 200, 500, 1000, 1500)),
            "newest": Choice((500, 1000, 2500, 5000, 10000)),
            "position-decay": Range(0.3, 6.0),
            "age-decay": Range(0.1, 10.0),
            "distance-decay": Range(0.5, 20.0),
        }
        return {name: values for name, values in every.items() if name in train_options(config)}
    space: dict[str, Range | Choice] = {
        "learning-rate": Range(0.01, 0.3),
        "batch-size": Choice((32, 64, 128, 256)),
        "samples": Choice((256, 512, 1024, 2048)),
        "sample-alpha": Range(0.0, 1.0),
        "dropout-hidden": Range(0.0, 0.6),
    }
    if config.fit.optimizer != "adam":
        space["momentum"] = Range(0.0, 0.6)
    if config.input != "one-hot":
        space["dropout-embedding"] = Range(0.0, 0.6)
    if config.fit.loss == "cross-entropy" and not config.fit.top_negatives:
        space["logq"] = Range(0.0, 1.0)
    if config.fit.loss == "bpr-max":
        space |= {"bpreg": Range(0.0, 2.0), "elu": Range(0.0, 1.0)}
    return space


def read_space(texts: Sequence[str], config: TrainConfig) -> dict[str, Range | Choice]:
    """Read ranges and lists of values as a user writes them; a name alone takes its values from `default_space`.

    Raises:
        SettingsError: a text is neither a range nor a list, its option is unknown or cannot be searched, or the option
            does not accept a value.
    """
    space: dict[str, Range | Choice] = {}
    known = train_options(config)
    for text in texts:
        name, separator, values = text.partition("=")
        name = name.strip().replace("_", "-")
        if name in NOT_SEARCHED or name not in known:
            names = ", ".join(option for option in known if option not in NOT_SEARCHED)
            raise SettingsError(f"--search {text}: {name!r} cannot be searched: choose from {names}")
        if not separator:
            usual = default_space(config).get(name)
            if usual is None:
                raise SettingsError(f"--search {text}: say which values, {name}=LOW..HIGH or {name}=A|B|C")
            space[name] = usual
        else:
            space[name] = _read(text, name, values, config)
    return space


def _read(text: str, name: str, values: str, config: TrainConfig) -> Range | Choice:
    parts = values.split("..") if ".." in values else values.split("|")
    try:
        read = [_option(name, _number(part.strip()), config) for part in parts]
        if ".." not in values:
            return Choice(tuple(read))
        low, high = read
        if not (isinstance(low, int | float) and isinstance(high, int | float) and low < high):
            raise ValueError("a range goes from a lower number to a higher one")
    except (SettingsError, ValueError) as error:
        raise SettingsError(f"--search {text}: {error}; write {name}=LOW..HIGH or {name}=A|B|C") from error
    return Range(low, high)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _option(name: str, value: int | float | str, config: TrainConfig) -> Any:
    """The value converted to the option's type: 0 to 0.0 for a share."""
    return option_values(with_options(config, {name: value}))[name.replace("-", "_")]
