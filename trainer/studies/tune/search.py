"""The search, in trials of optuna. Each trial fits a network to older sessions and judges it on the newest ones.

A trial is judged after every epoch, and pruned if it is worse than the median of the others at the same epoch. Its
value is that of its best epoch, and the number of that epoch is one of the settings found. Trials are kept in a journal
file, so that a stopped search can resume, and several processes can search together.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from clicklog.clicks import Clicks
from clicklog.items import ItemIndex
from clicklog.sessions import Sessions, sessions_of
from rankers.contract import Family
from rankers.device import choose_device
from rankers.families import family_of, is_counted
from schemas.errors import DivergedError, TrainingError
from schemas.recommendation import TOP
from trainer.config import BLEND, TrainConfig
from trainer.counting import count
from trainer.evaluation.full_ranking import evaluate
from trainer.fit import Progress, fit
from trainer.settings_file import recorded_options, train_options, with_options
from trainer.studies.tune.space import Space
from trainer.train import train, untrained_network
from trainer.validation import hold_out_newest

if TYPE_CHECKING:
    import optuna

Metric = Literal["recall", "mrr"]

STUDY = "nextclick"
UNPRUNED_TRIALS = 5
"""The first trials are never pruned: a median of fewer trials says nothing."""

UNPRUNED_EPOCHS = 1
"""No trial is pruned after its first epoch alone, which favours high learning rates."""


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    Attributes:
        number: from 0.
        settings: the values it tried, by option.
        value: the metric of its best epoch on the validation part; None if it diverged in the first epoch or could not
            begin.
        epochs: number of the best epoch, from 1; 0 if there is none, also where models are counted.
        pruned: whether it was stopped early, diverged or could not begin.
        impossible: why no model can be trained with these settings; empty if one can.
    """

    number: int
    settings: Mapping[str, Any]
    value: float | None
    epochs: int
    pruned: bool
    impossible: str


@dataclass(frozen=True)
class Found:
    """Result of a search: all options of the best trial, that trial, and the number of finished trials."""

    config: TrainConfig
    best: Trial
    trials: int


def search(
    clicks: Clicks,
    config: TrainConfig,
    space: Space,
    journal: Path,
    trials: int,
    share: float = 0.1,
    metric: Metric = "recall",
    ended: Callable[[Trial], None] | None = None,
    progress: Callable[[int, Progress], None] | None = None,
) -> Found:
    """Search until the journal has `trials` finished trials.

    The first trial is `config` itself, as far as the space allows, so that the result is not worse than `config`.

    Args:
        clicks: the training clicks, without the test clicks.
        config: the options that are not searched; `config.fit.epochs` is the most epochs of a trial.
        space: the options that are searched, with their values.
        journal: the file of the trials, created if it does not exist.
        trials: number of trials, including those of earlier searches in the journal.
        share: share of the sessions, the newest ones, to judge on.
        metric: Recall@20 or MRR@20.
        ended: called after each trial.
        progress: called with the trial's number and the progress of its fit.

    Raises:
        TrainingError: optuna is missing, the journal is of another search or cannot be used, nothing is left to train
            or judge on, or every trial diverged.
        ClicksError: the share leaves nothing on one side.
    """
    task = _Task.of(clicks, config, share, metric)
    study = _open_study(journal, _fingerprint(clicks, config, space, share, metric), config.fit.seed)
    own = train_options(config)
    start = {name: own[name] for name in space if own[name] in space[name]}
    from optuna.trial import TrialState

    if all(trial.settings != start for trial in _ended(study)):
        study.enqueue_trial(start)
    while len(_ended(study)) < trials:
        trial = study.ask()
        try:
            value, state = _run(task, trial, config, space, progress)
        except BaseException:
            study.tell(trial, state=TrialState.FAIL)  # interrupted: not counted when the search resumes
            raise
        study.tell(trial, value, state)
        if ended is not None:
            ended(_trial(study.trials[trial.number]))
    done = [trial for trial in _ended(study) if trial.value is not None and not trial.pruned]
    if not done:
        impossible = [trial.impossible for trial in _ended(study) if trial.impossible]
        if impossible:
            raise TrainingError(f"none of {trials} trials could be trained, the last one because {impossible[-1]}")
        raise TrainingError(f"all {trials} trials diverged: search lower values of learning-rate")
    best = max(done, key=lambda trial: (trial.value, -trial.number))
    chooses_epochs = config.family != BLEND and not is_counted(config.family)  # a blend's training chooses them itself
    options = {**best.settings, "epochs": best.epochs} if chooses_epochs else best.settings
    return Found(with_options(config, options), best, len(_ended(study)))


@dataclass(frozen=True)
class _Task:
    """What every trial is trained and judged on."""

    clicks: Clicks
    train: Sessions
    valid: Sessions
    index: ItemIndex
    device: torch.device
    metric: Metric
    family: Family

    @classmethod
    def of(cls, clicks: Clicks, config: TrainConfig, share: float, metric: Metric) -> "_Task":
        parts = hold_out_newest(clicks.frame, share, config.min_support, config.min_length)
        train, device = sessions_of(parts.train, parts.index), choose_device(config.device, "--device")
        older = Clicks(parts.train, clicks.source)
        return cls(older, train, parts.valid, parts.index, device, metric, family_of(config.family))

    def judge(self, model: Any) -> float:
        evaluation = evaluate(self.family.ranker(model, self.index, self.device, "exact"), self.valid)
        return (evaluation.recall if self.metric == "recall" else evaluation.mrr)[TOP]


def _run(
    task: _Task,
    trial: "optuna.Trial",
    config: TrainConfig,
    space: Space,
    progress: Callable[[int, Progress], None] | None,
) -> "tuple[float | None, optuna.trial.TrialState]":
    """Run one trial; returns the value and the state to report to the study."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    chosen = with_options(config, {name: values.suggest(trial, name) for name, values in space.items()})
    if is_counted(chosen.family):
        model, _ = count(chosen, task.train, len(task.index))
        value = task.judge(model)
        trial.set_user_attr("value", value)
        return value, TrialState.COMPLETE
    if chosen.family == BLEND:
        return _run_blend(task, trial, chosen, progress)
    torch.manual_seed(chosen.fit.seed)
    try:
        network = untrained_network(chosen, len(task.index)).to(task.device)
    except TrainingError as error:
        return _given_up(trial, error)
    best = -1.0

    def judge(epoch: int) -> None:
        nonlocal best
        value = task.judge(network)
        trial.report(value, epoch)
        if value > best:
            best = value
            trial.set_user_attr("epochs", epoch)
            trial.set_user_attr("value", value)
        if trial.should_prune():
            raise TrialPruned

    try:
        fit(
            network,
            task.train,
            task.index.support,
            chosen.fit,
            lambda now: progress and progress(trial.number, now),
            after_epoch=judge,
        )
    except TrialPruned:
        return None, TrialState.PRUNED
    except TrainingError as error:
        return _given_up(trial, error)
    return best, TrialState.COMPLETE


def _run_blend(
    task: _Task, trial: "optuna.Trial", chosen: TrainConfig, progress: Callable[[int, Progress], None] | None
) -> "tuple[float | None, optuna.trial.TrialState]":
    """A trial of a blend: a whole training, which holds out sessions of its own to choose epochs and weight."""
    from optuna.trial import TrialState

    try:
        trained = train(task.clicks, chosen, progress=lambda now: progress and progress(trial.number, now))
    except TrainingError as error:
        return _given_up(trial, error)
    value = task.judge(trained.bundle.model)
    trial.set_user_attr("value", value)
    return value, TrialState.COMPLETE


def _given_up(trial: "optuna.Trial", error: TrainingError) -> "tuple[None, optuna.trial.TrialState]":
    """A trial that could not begin, or diverged: pruned, because similar settings do so as well."""
    from optuna.trial import TrialState

    trial.set_user_attr("error" if isinstance(error, DivergedError) else "impossible", str(error))
    return None, TrialState.PRUNED


def _open_study(journal: Path, fingerprint: str, seed: int) -> "optuna.Study":
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise TrainingError("tune needs the library optuna: pip install 'nextclick[study]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(
            study_name=STUDY,
            storage=JournalStorage(JournalFileBackend(str(journal))),
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(UNPRUNED_TRIALS, n_warmup_steps=UNPRUNED_EPOCHS + 1),
        )
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{journal} cannot be used as a journal of trials: {error}; name another file") from error
    known = study.user_attrs.get("fingerprint")
    if known not in (None, fingerprint):
        raise TrainingError(
            f"{journal} holds the trials of another search (other clicks, options or ranges): name another file"
        )
    study.set_user_attr("fingerprint", fingerprint)
    # With the same seed again, the sampler would propose the trials in the journal once more.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials), n_startup_trials=UNPRUNED_TRIALS)
    return study


def _fingerprint(clicks: Clicks, config: TrainConfig, space: Space, share: float, metric: Metric) -> str:
    """A digest of everything that must be equal for two trials to be comparable."""
    fixed = {name: value for name, value in recorded_options(config).items() if name not in space}
    ranges = {name: str(values) for name, values in sorted(space.items())}
    frame = clicks.frame
    text = json.dumps([fixed, config.fit.seed, ranges, share, metric, len(frame)], sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for name in ("session_id", "item_id"):
        digest.update("\n".join(frame[name].cast(str).to_list()).encode())
    return digest.hexdigest()[:24]


def _ended(study: "optuna.Study") -> list[Trial]:
    return [_trial(trial) for trial in study.trials if trial.state.is_finished() and trial.state.name != "FAIL"]


def _trial(trial: "optuna.trial.FrozenTrial") -> Trial:
    return Trial(
        number=trial.number,
        settings=trial.params,
        value=trial.user_attrs.get("value"),
        epochs=trial.user_attrs.get("epochs", 0),
        pruned=trial.state.name == "PRUNED",
        impossible=trial.user_attrs.get("impossible", ""),
    )
