"""Trains a model bundle on clicks, and evaluates a bundle on clicks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch

from clicklog.clicks import Clicks
from clicklog.filters import filter_clicks
from clicklog.items import ItemIndex
from clicklog.sessions import Sessions, sessions_of
from rankers.bundle import Bundle, new_version
from rankers.contract import Ranker
from rankers.device import choose_device
from rankers.families import family_of, is_counted, network_family_of
from rankers.metrics import Ties
from schemas.errors import TrainingError
from schemas.recommendation import TOP
from trainer.backends.backend import Network
from trainer.backends.choice import compiled_cpu_supports
from trainer.blending.train import train_blend
from trainer.checkpoint import Checkpoint, fingerprint
from trainer.config import BLEND, FitConfig, TrainConfig
from trainer.counting import count, size_of_counting
from trainer.distributed import SINGLE_PROCESS, Process
from trainer.evaluation.full_ranking import CUTOFFS, Evaluation, evaluate
from trainer.fit import FitResult, Progress, fit
from trainer.memory import allocating, memory_bytes, memory_errors
from trainer.trained import Trained, span_of
from trainer.validation import EpochChoice, hold_out_newest
from trainer.warm_start import WarmStart, warm_network


def train(
    clicks: Clicks,
    config: TrainConfig,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
    checkpoint: Path | None = None,
    process: Process = SINGLE_PROCESS,
    *,
    warm: WarmStart | None = None,
    unattended: bool = False,
    device_source: str = "--device",
    say: Callable[[str], None] = lambda _line: None,
    part: str = "",
) -> Trained:
    """Filter clicks, build a network for their items and fit it; or count a model of a family that counts.

    A blend is both, see `trainer.blending.train`.

    Args:
        clicks: the click log, already cut into sessions.
        config: see `TrainConfig`; `config.fit.seed` also determines the initial weights and the dropped units.
        settings: stored in the bundle, as a record of how it was made.
        progress: see `fit`.
        checkpoint: directory of the training's checkpoint, see `trainer.checkpoint`. The caller removes it once the
            bundle is saved.
        process: see `fit`.
        warm: train this bundle further; it determines the network's shape, the epochs and the sessions to train on.
        unattended: remove a checkpoint of another training, or a damaged one, instead of raising an error.
        device_source: the option or setting that `config.device` comes from, for the error message.
        say: called with a line for people.
        part: see `Checkpoint`.

    Raises:
        SettingsError: the device does not exist.
        TrainingError: nothing is left after filtering, a step does not fit into memory, or as in `fit`.
    """
    device = choose_device(process.device(config.device), device_source)
    if config.family == BLEND:
        train_network = partial(
            train,
            clicks,
            settings=settings,
            progress=progress,
            checkpoint=checkpoint,
            process=process,
            unattended=unattended,
            device_source=device_source,
            say=say,
        )

        def newest() -> Sessions:
            return hold_out_newest(clicks.frame, config.validate, config.min_support, config.min_length).valid

        _check_neighbours(clicks, config)
        return train_blend(config, train_network, newest, warm, device, say)
    kept, index, valid, judged_until = _parts(clicks, config)
    sessions = sessions_of(kept, index)
    span = span_of(kept, clicks, judged_until)

    def trained(model: Any, family: str, result: FitResult) -> Trained:
        bundle = Bundle(new_version(), model, index, family, dict(settings or {}), span)
        return Trained(bundle, result, sessions)

    if is_counted(config.family):
        del kept  # free the memory before the counting
        model, counted = count(config, sessions, len(index), say)
        return trained(model, config.family, counted)
    torch.manual_seed(config.fit.seed)
    family = config.family if warm is None else warm.parent.family
    if warm is None:
        network = untrained_network(config, len(index)).to(device)
        fit_config, chosen, state = config.fit, sessions, None
    else:
        fit_config = warm.fit_config(config.fit)
        network = warm_network(warm.parent, index, fit_config.seed).to(device)
        chosen = sessions_of(warm.choose_sessions(kept, fit_config.seed), index)
        state = warm.first_state(network, index, fit_config)
    del kept  # free the memory before hours of training
    resume = None
    if checkpoint is not None:
        training = _training(family, network, fit_config, chosen, process, warm)
        if valid is not None:
            training |= {"validate": config.validate, "validation": fingerprint(valid, len(index))}
        resume = Checkpoint(checkpoint, training, replace_others=unattended, part=part)
    choice = None
    if valid is not None:
        choice = EpochChoice(lambda: _judge(family_of(family).ranker(network, index, device, "exact"), valid))
    with memory_errors(network, fit_config, chosen, device):
        result = fit(
            network,
            chosen,
            index.support,
            fit_config,
            progress,
            checkpoint=resume,
            process=process,
            state=state,
            choice=choice,
        )
    return trained(network.cpu().requires_grad_(False).eval(), family, result)


def evaluate_bundle(
    bundle: Bundle,
    clicks: Clicks,
    device: str = "auto",
    ties: Ties = "conservative",
    progress: Callable[[int, int], None] | None = None,
    cutoffs: Sequence[int] = CUTOFFS,
    device_source: str = "--device",
) -> Evaluation:
    """Evaluate a bundle on clicks by full ranking. Clicks on items that the bundle does not have are dropped.

    Raises:
        SettingsError: the device does not exist; the message names it as the value of `device_source`.
        TrainingError: there is no event to evaluate, or the scores are not numbers.
    """
    sessions = sessions_of(clicks.frame, bundle.items)
    return evaluate(bundle.ranker(choose_device(device, device_source)), sessions, ties, progress, cutoffs)


def _check_neighbours(clicks: Clicks, config: TrainConfig) -> None:
    """Refuse, before hours of training, a blend whose neighbours of all sessions do not fit into memory."""
    kept, index, _, _ = _parts(clicks, replace(config, validate=0.0))
    size_of_counting(config.parts[1], sessions_of(kept, index), len(index))


def _judge(ranker: Ranker, sessions: Sessions) -> tuple[float, float]:
    """Recall@20 and MRR@20."""
    evaluation = evaluate(ranker, sessions)
    return evaluation.recall[TOP], evaluation.mrr[TOP]


def _parts(clicks: Clicks, config: TrainConfig) -> tuple[pl.DataFrame, ItemIndex, Sessions | None, int | None]:
    """The clicks to train on, their items, and the sessions that choose the epoch, if any, with their last time."""
    if config.validate:
        parts = hold_out_newest(clicks.frame, config.validate, config.min_support, config.min_length)
        return parts.train, parts.index, parts.valid, parts.valid_until
    kept = filter_clicks(clicks.frame, config.min_support, config.min_length)
    return kept, ItemIndex.of(kept), None, None


def untrained_network(config: TrainConfig, items: int) -> Any:
    """A network of the configured family and shape, with random weights from torch's generator.

    Raises:
        TrainingError: there is no such network, or it does not fit into memory.
    """
    family, options = network_family_of(config.family), family_of(config.family).options
    sizes = [f"--{name} {getattr(config, name)}" for name in ("hidden", "layers") if name in options]
    too_large = (
        f"a network of {' and '.join(sizes)} for {items} items does not fit into memory: lower "
        f"{'them' if len(sizes) > 1 else 'it'}, or raise --min-support"
    )
    with allocating(too_large):
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                needed = sum(weights.nbytes for weights in family.untrained(config.shape(items)).parameters())
            if needed > memory_bytes(torch.device("cpu")):
                raise TrainingError(too_large)
            return family.untrained(config.shape(items))
        except ValueError as error:
            raise TrainingError(f"there is no {config.family} of this shape: {error}") from error


def _training(
    family: str, network: Network, config: FitConfig, sessions: Sessions, process: Process, warm: WarmStart | None
) -> dict[str, Any]:
    """What must be equal in a checkpoint for this training to resume from it."""
    shape = asdict(network.config)
    items = shape.pop("items")  # part of the clicks' fingerprint
    backend = "kernel" if compiled_cpu_supports(network, config, process) else "autograd"
    training = asdict(config) | shape | {"family": family, "clicks": fingerprint(sessions, items), "path": backend}
    return training if warm is None else training | {"parent": warm.parent.network_version}
