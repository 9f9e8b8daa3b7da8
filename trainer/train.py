"""From clicks to a model bundle, and from a bundle and clicks to its figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from clicklog.clicks import Clicks
from clicklog.filters import filter_clicks
from clicklog.items import ItemIndex
from clicklog.sessions import Sessions, sessions_of
from rankers.bundle import Bundle, new_version
from rankers.gru4rec.network import GRU4Rec
from rankers.metrics import Ties
from schemas.announcement import ClickSpan
from schemas.errors import TrainingError
from trainer.backends.backend import compiled_cpu_supports
from trainer.checkpoint import Checkpoint, fingerprint
from trainer.config import TrainConfig
from trainer.distributed import SINGLE_PROCESS, Process
from trainer.evaluation.full_ranking import CUTOFFS, Evaluation, evaluate
from trainer.fit import FitResult, Progress, fit


def train(
    clicks: Clicks,
    config: TrainConfig,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
    checkpoint: Path | None = None,
    process: Process = SINGLE_PROCESS,
) -> tuple[Bundle, FitResult]:
    """Filter clicks, build a network for their items and fit it.

    Args:
        clicks: the log.
        config: see there; `config.fit.seed` also decides the network's start and the dropped units.
        settings: kept in the bundle, for whoever wants to know how it was made.
        progress: as `fit` calls it.
        checkpoint: directory of the training's checkpoint, see `trainer.checkpoint`; once the bundle is safe, it is
            the caller's to remove.
        process: as in `fit`.

    Returns:
        The bundle with its network on the CPU, and how the fit went.

    Raises:
        TrainingError: nothing is left after filtering, the device is not there, the loss is no longer a number, or
            the checkpoint is another training's.
    """
    device = choose_device(process.device(config.device))
    frame = filter_clicks(clicks.frame, config.min_support, config.min_length)
    index = ItemIndex.of(frame)
    sessions = sessions_of(frame, index)
    span = ClickSpan(
        clicks=len(sessions.items),
        sessions=len(sessions),
        first=frame["timestamp"].min(),  # type: ignore[arg-type]
        last=frame["timestamp"].max(),  # type: ignore[arg-type]
        source=clicks.source,
        offsets=clicks.offsets,
    )
    del frame  # hours of training need it no longer
    torch.manual_seed(config.fit.seed)
    network = GRU4Rec(config.shape(len(index))).to(device)
    kept = None if checkpoint is None else Checkpoint(checkpoint, _training(config, sessions, network, process))
    result = fit(network, sessions, index.support, config.fit, progress, checkpoint=kept, process=process)
    bundle = Bundle(
        version=new_version(),
        network=network.cpu().requires_grad_(False).eval(),
        items=list(index.ids),
        support=index.support,
        settings=dict(settings or {}),
        trained_on=span,
    )
    return bundle, result


def _training(config: TrainConfig, sessions: Sessions, network: GRU4Rec, process: Process) -> dict[str, Any]:
    """What a checkpoint must have been made with."""
    options = asdict(config)
    options |= options.pop("fit")
    del options["device"], options["min_support"], options["min_length"]  # the clicks say what they came to
    way = "kernel" if compiled_cpu_supports(network, config.fit, process) else "autograd"
    return options | {"clicks": fingerprint(sessions, network.config.items), "path": way}


def evaluate_bundle(
    bundle: Bundle,
    clicks: Clicks,
    device: str = "auto",
    ties: Ties = "conservative",
    progress: Callable[[int, int], None] | None = None,
    cutoffs: Sequence[int] = CUTOFFS,
) -> Evaluation:
    """Judge a bundle on clicks by full ranking; clicks on items that it does not know are dropped.

    Raises:
        TrainingError: the device is not there, or there is nothing to judge.
    """
    sessions = sessions_of(clicks.frame, ItemIndex(bundle.items, bundle.support))
    return evaluate(bundle.network.to(choose_device(device)), sessions, ties, progress, cutoffs)


def choose_device(name: str) -> torch.device:
    """`auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        TrainingError: the name is none of these, or there is no such GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise TrainingError(f"device {name!r} is unknown: choose auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise TrainingError(f"device {name!r} is not supported: choose auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise TrainingError(f"device {name!r} is not there (torch sees {torch.cuda.device_count()} GPUs): choose cpu")
    return device
