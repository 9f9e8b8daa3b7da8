"""The methods of a comparison: baselines by name, and families of models by the options of `nextclick train`."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clicklog.clicks import Clicks
from clicklog.filters import filter_clicks
from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions, sessions_of
from rankers.baselines import BASELINES, make_baseline
from rankers.device import choose_device
from rankers.families import is_counted
from rankers.metrics import Ties
from schemas.errors import SettingsError
from trainer.config import TrainConfig
from trainer.evaluation.full_ranking import Evaluation, evaluation_of
from trainer.evaluation.ranks import Ranks, rank_events, rank_streamed
from trainer.presets import FAMILY_DEFAULTS
from trainer.settings_file import read_train_config, recorded_options
from trainer.train import train

NAMES = ", ".join((*BASELINES, *FAMILY_DEFAULTS))
SEEDED = ("bpr-mf", "fpmc")
"""Baselines that draw at random. The others give the same figures with every seed, so they run only once."""

Report = Callable[[str, float], None]
"""Called with the current activity and the share of it that is done."""


@dataclass(frozen=True)
class Comparison:
    """What all methods of a comparison are trained and judged on.

    Attributes:
        train: the clicks to train on, not yet filtered.
        test: the clicks to judge on.
        min_support: fewest clicks of an item in `train`.
        min_length: fewest clicks of a session in `train`.
        ties: how items with the same score as the next item count.
        device: for families of models.
        device_source: the option or setting that the device comes from, for the error message.
    """

    train: Clicks
    test: Clicks
    min_support: int = 5
    min_length: int = 2
    ties: Ties = "conservative"
    device: str = "cpu"
    device_source: str = "--device"


@dataclass(frozen=True)
class Outcome:
    """What one method reached with one seed.

    Attributes:
        evaluation: by full ranking of the test events.
        train_seconds: wall time of the fit alone.
        trained_events: (click, next click) pairs that the fit used, summed over epochs.
        rank_seconds: wall time of ranking all test events.
    """

    evaluation: Evaluation
    train_seconds: float
    trained_events: int
    rank_seconds: float


class Method(Protocol):
    """A method with its settings."""

    @property
    def name(self) -> str:
        """The user's name for the method."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that its figures depend on, except the seed and the comparison."""

    @property
    def seeded(self) -> bool:
        """Whether its figures depend on the seed."""

    def run(self, comparison: Comparison, seed: int, report: Report) -> Outcome:
        """Train and judge the method."""


def read_methods(specifications: Sequence[str]) -> list[Method]:
    """Methods from their names: a baseline, a family (with its defaults), or `name=path.toml` (options of a file).

    Raises:
        SettingsError: no name is given, a name is unknown or given twice, or a file cannot be read.
    """
    chosen: list[Method] = []
    for text in specifications:
        name, separator, path = (part.strip() for part in text.partition("="))
        if separator:
            if not name or name in BASELINES:
                raise SettingsError(f"{text!r}: a model of your own is named as you like, but not {name!r}")
            chosen.append(FamilyMethod(name, read_train_config(Path(path))))
        elif name in FAMILY_DEFAULTS:
            chosen.append(FamilyMethod(name, FAMILY_DEFAULTS[name]))
        elif name in BASELINES:
            chosen.append(BaselineMethod(name))
        else:
            raise SettingsError(
                f"there is no method {name!r}: choose from {NAMES}, or write NAME=FILE.toml "
                "for a model with the options of a file"
            )
    names = [method.name for method in chosen]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SettingsError(f"two methods are called {', '.join(sorted(twice))}: give each a name of its own")
    if not chosen:
        raise SettingsError(f"no method is named: choose from {NAMES}")
    return chosen


class BaselineMethod:
    """A method of `rankers.baselines`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.settings = {"method": name, **make_baseline(name).settings}
        self.seeded = name in SEEDED

    def run(self, comparison: Comparison, seed: int, report: Report) -> Outcome:
        """Train and judge the method; its functions are compiled before the time is taken."""
        frame = filter_clicks(comparison.train.frame, comparison.min_support, comparison.min_length)
        index = ItemIndex.of(frame)
        train_sessions, test_sessions = sessions_of(frame, index), sessions_of(comparison.test.frame, index)
        self._compile()
        baseline = make_baseline(self.name, seed)
        report("training", 0)
        began = time.perf_counter()
        baseline.fit(train_sessions, len(index))
        fitted = time.perf_counter()
        ranks = rank_events(
            baseline.scores,
            test_sessions,
            len(index),
            comparison.ties,
            lambda done, total: report("ranking", done / total),
        )
        events = train_sessions.pairs * int(self.settings.get("epochs", 1))
        return _outcome(ranks, fitted - began, events, time.perf_counter() - fitted)

    def _compile(self) -> None:
        two = np.array([0, 1])
        baseline = make_baseline(self.name)
        baseline.fit(Sessions(two, np.array([0, 2])), 2)
        baseline.scores(Prefixes(two, np.array([0, 2])))


class FamilyMethod:
    """A model of a family; the comparison's filters replace those of its options, so that all have the same events."""

    def __init__(self, name: str, config: TrainConfig) -> None:
        self.name = name
        self.config = config
        options = recorded_options(config) | {"method": config.family}
        self.settings = {key: value for key, value in options.items() if key != "family" and not key.startswith("min-")}
        self.seeded = not is_counted(config.family)

    def run(self, comparison: Comparison, seed: int, report: Report) -> Outcome:
        """Train and judge the model; its functions are compiled before the time is taken."""
        config = replace(
            self.config,
            fit=replace(self.config.fit, seed=seed),
            min_support=comparison.min_support,
            min_length=comparison.min_length,
            device=comparison.device,
        )
        trained = train(
            comparison.train,
            config,
            progress=lambda now: report(f"epoch {now.epoch}", now.events / now.total),
            device_source=comparison.device_source,
        )
        bundle, result = trained.bundle, trained.fit
        test_sessions = sessions_of(comparison.test.frame, bundle.items)
        ranker = bundle.ranker(choose_device(comparison.device, comparison.device_source))
        ranker.warm_up(1)
        began = time.perf_counter()
        ranks = rank_streamed(
            ranker,
            test_sessions,
            comparison.ties,
            lambda done, total: report("ranking", done / total),
        )
        return _outcome(ranks, result.seconds, result.events, time.perf_counter() - began)


def _outcome(ranks: Ranks, train_seconds: float, trained_events: int, rank_seconds: float) -> Outcome:
    return Outcome(evaluation_of(ranks.rank), train_seconds, trained_events, rank_seconds)
