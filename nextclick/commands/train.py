"""`nextclick train`: clicks to a model bundle."""

import contextlib
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from schemas.errors import BundleError, ClicksError, SettingsError, TrainingError
from trainer.config import FitConfig, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

    from clicklog.clicks import Clicks
    from rankers.bundle import Bundle
    from schemas.settings import Settings
    from trainer.fit import FitResult, Progress

Loss = Literal["cross-entropy", "bpr", "top1", "bpr-max", "top1-max"]
Input = Literal["shared", "embedding", "one-hot"]
Reset = Literal["after", "before"]
Optimizer = Literal["adagrad", "rmsprop", "adam"]
Order = Literal["time", "length", "random"]

KAFKA = "kafka"
LOG = "log"
DEFAULT = TrainConfig()
FIT = DEFAULT.fit


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options of a TOML file as defaults; the command line wins.

    Raises:
        SettingsError: the file cannot be read, or names something that is no option.
    """
    if path is None or context.resilient_parsing:
        return path
    try:
        options = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"--config {path} cannot be read: {error}") from error
    # A parameter that would hide a Python name ends in "_": `input_` is --input.
    parameters = {str(parameter.name).rstrip("_"): str(parameter.name) for parameter in context.command.params}
    known = parameters.keys() - {"config", "help"}
    unknown = [name for name in options if name.replace("-", "_") not in known]
    values = {parameters.get(name.replace("-", "_"), name): value for name, value in options.items()}
    if unknown:
        names = ", ".join(sorted(name.replace("_", "-") for name in known))
        raise SettingsError(f"--config {path}: {', '.join(unknown)} is no option of train: it takes {names}")
    context.default_map = {**(context.default_map or {}), **values}
    return path


def train(
    clicks: Annotated[
        str,
        typer.Option(
            help="A .parquet or .csv file of clicks; `kafka`: the clicks topic; `log`: its archive and topic as one."
        ),
    ],
    split: Annotated[str | None, typer.Option(help="Only these splits of the file, comma separated.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only the newest clicks of topic or log: 7d, 12h, …; all of them by default.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Leave out the newest clicks of topic or log: 1d, …; none of them by default.")
    ] = None,
    session_gap: Annotated[
        str | None,
        typer.Option(
            help="End sessions after a silence: 30m …; the topic's by NEXTCLICK_SESSION_GAP, a file's by default never."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The bundle's directory; by default a new version below NEXTCLICK_MODELS_URI if that is local."
        ),
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Put the bundle at the models URI and announce it to the workers.")
    ] = False,
    loss: Annotated[Loss, typer.Option(help="Training loss.")] = FIT.loss,
    input_: Annotated[
        Input, typer.Option("--input", help="A clicked item enters by its output row, its own embedding, or one-hot.")
    ] = DEFAULT.input,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units of a layer.")] = DEFAULT.hidden,
    layers: Annotated[int, typer.Option(min=1, help="GRU layers.")] = DEFAULT.layers,
    reset: Annotated[
        Reset, typer.Option(help="The reset gate acts after the recurrent product, or before it as in the 2016 paper.")
    ] = DEFAULT.reset,
    batch_size: Annotated[int, typer.Option(min=1, help="Sessions trained side by side.")] = FIT.batch_size,
    samples: Annotated[int, typer.Option(min=0, help="Negative samples a step.")] = FIT.samples,
    sample_alpha: Annotated[
        float, typer.Option(min=0, max=1, help="Negatives are drawn by support^alpha.")
    ] = FIT.sample_alpha,
    logq: Annotated[
        float, typer.Option(min=0, max=1, help="How far cross-entropy corrects for the items' popularity.")
    ] = FIT.logq,
    optimizer: Annotated[Optimizer, typer.Option(help="Optimiser.")] = FIT.optimizer,
    learning_rate: Annotated[float, typer.Option(min=1e-9, help="Learning rate.")] = FIT.learning_rate,
    momentum: Annotated[
        float | None,
        typer.Option(
            min=0, max=0.999, help=f"Momentum of adagrad and rmsprop, {FIT.momentum} by default.", show_default=False
        ),
    ] = None,
    dropout_hidden: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of a layer's output that is dropped.")
    ] = FIT.dropout_hidden,
    dropout_embedding: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of the input embedding that is dropped.")
    ] = FIT.dropout_embedding,
    bpreg: Annotated[
        float | None,
        typer.Option(min=0, help=f"bpr-max: regularisation of the scores, {FIT.bpreg} by default.", show_default=False),
    ] = None,
    elu: Annotated[
        float | None,
        typer.Option(
            min=0, help=f"bpr-max: scores pass ELU with this parameter, {FIT.elu} by default.", show_default=False
        ),
    ] = None,
    order: Annotated[Order, typer.Option(help="In which an epoch takes the sessions; length: longest first.")] = (
        FIT.order
    ),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the clicks.")] = FIT.epochs,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is random.")] = FIT.seed,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N; NEXTCLICK_DEVICE by default.", show_default=False)
    ] = None,
    min_support: Annotated[int, typer.Option(min=1, help="Fewest clicks of an item.")] = DEFAULT.min_support,
    min_length: Annotated[int, typer.Option(min=2, help="Fewest clicks of a session.")] = DEFAULT.min_length,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Keep the state of every epoch in this directory, and go on from it after an interruption."),
    ] = None,
    config: Annotated[  # noqa: ARG001
        Path | None,
        typer.Option(callback=read_config, is_eager=True, help="The same options as a TOML file: batch-size = 32, …"),
    ] = None,
) -> None:
    """Train a model bundle on clicks.

    The defaults were chosen on validation parts of public data: docs/training.md. With a few thousand items,
    --samples 512 is nearly as good and half as fast again; the paper's settings are --samples 0 --input one-hot
    --reset before.
    """
    from schemas.settings import load_settings

    refuse_unused(loss, optimizer, bpreg, elu, momentum)
    if input_ == "one-hot" and dropout_embedding:
        raise TrainingError("--dropout-embedding drops units of an item's embedding, and one-hot input has none")
    settings = load_settings()
    chosen = TrainConfig(
        fit=FitConfig(
            loss=loss,
            batch_size=batch_size,
            samples=samples,
            sample_alpha=sample_alpha,
            logq=logq,
            bpreg=FIT.bpreg if bpreg is None else bpreg,
            elu=FIT.elu if elu is None else elu,
            optimizer=optimizer,
            learning_rate=learning_rate,
            momentum=FIT.momentum if momentum is None else momentum,
            dropout_hidden=dropout_hidden,
            dropout_embedding=dropout_embedding,
            order=order,
            epochs=epochs,
            seed=seed,
        ),
        input=input_,
        hidden=hidden,
        layers=layers,
        reset=reset,
        min_support=min_support,
        min_length=min_length,
        device=device or settings.device,
    )
    splits = [name.strip() for name in split.split(",")] if split else []
    table = Source(clicks, splits, *read_span(since, until), read_duration(session_gap, "--session-gap"))
    run(table, out, publish, chosen, settings, checkpoint)


def refuse_unused(
    loss: Loss, optimizer: Optimizer, bpreg: float | None, elu: float | None, momentum: float | None
) -> None:
    """Say so where an option would be ignored.

    Raises:
        TrainingError: names the option and what it belongs to.
    """
    for name, value in (("--bpreg", bpreg), ("--elu", elu)):
        if value is not None and loss != "bpr-max":
            raise TrainingError(f"{name} {value} belongs to bpr-max, and the loss is {loss}: leave it out")
    if momentum is not None and optimizer == "adam":
        raise TrainingError(f"--momentum {momentum} belongs to adagrad and rmsprop: leave it out with adam")


@dataclass(frozen=True)
class Source:
    """Which clicks.

    Attributes:
        clicks: a file, `kafka` or `log`.
        splits: of the file.
        since: age of the oldest click of topic or log.
        until: age of the newest.
        gap: the silence that ends a session.
    """

    clicks: str
    splits: "Sequence[str]"
    since: "timedelta | None"
    until: "timedelta | None"
    gap: "timedelta | None"


def run(
    source: Source,
    out: Path | None,
    publish: bool,
    config: TrainConfig,
    settings: "Settings",
    checkpoint: Path | None,
) -> None:
    """Read, train, write and publish; everything but the options. Where torchrun started several, all train."""
    from trainer.distributed import process_group

    with process_group() as process:
        # One for all: what another read of the topic would find, or another machine was told, could differ.
        clicks, config = process.on_rank_zero(lambda: (read(source, out, publish, settings), config))

        import torch  # only now: whoever misspelt a file need not wait for it

        from trainer.train import train as train_bundle

        torch.set_num_threads(settings.torch_threads)
        typer.echo(f"{clicks.source}: {len(clicks.frame):,} clicks", err=True)
        with progress_bar() as advance:
            options: dict[str, Any] = {"clicks": source.clicks, "split": ",".join(source.splits), **asdict(config)}
            options |= options.pop("fit")
            device_source = "NEXTCLICK_DEVICE" if config.device == settings.device else "--device"
            trained = train_bundle(clicks, config, options, advance, checkpoint, process, device_source=device_source)
        process.on_rank_zero(lambda: deliver(trained.bundle, trained.fit, out, publish, settings, checkpoint))


def read(source: Source, out: Path | None, publish: bool, settings: "Settings") -> "Clicks":
    """The clicks, once it is sure that the bundle can go where it is to go: now, and not after hours of training."""
    if publish:
        import asyncio

        from messaging.topics import check_topics

        asyncio.run(check_topics(settings, [settings.models_topic]))
    if out is not None:
        check_free(out)
    return read_clicks(source, settings)


def deliver(
    bundle: "Bundle",
    result: "FitResult",
    out: Path | None,
    publish: bool,
    settings: "Settings",
    checkpoint: Path | None,
) -> None:
    """Write the bundle, forget the checkpoint, and publish where asked to."""
    from rankers.bundle import write_bundle
    from trainer.checkpoint import Checkpoint

    directory = out or default_directory(settings) / bundle.version
    digest = write_bundle(bundle, directory)
    if checkpoint is not None:
        Checkpoint(checkpoint, {}).remove()
    span = bundle.trained_on
    assert span is not None
    typer.echo(
        f"{directory}: version {bundle.version}, {len(bundle.items):,} items, {span.clicks:,} clicks of "
        f"{span.sessions:,} sessions, loss {result.losses[-1]:.4f}, {result.seconds:.1f} s "
        f"({result.events / result.seconds:,.0f} events/s), sha256 {digest}"
    )
    if publish:
        import asyncio

        from modelregistry.publishing import publish_bundle

        announcement = asyncio.run(publish_bundle(directory, settings))
        typer.echo(f"announced {announcement.version} at {announcement.uri}")


def check_free(out: Path) -> None:
    """Refuse a directory that the bundle cannot go to before the training, not after it.

    Raises:
        BundleError: there is something else than a bundle.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "bundle.json").exists())):
        raise BundleError(f"--out {out} exists and is no model bundle: give an empty or a new directory")


def default_directory(settings: "Settings") -> Path:
    """Where new versions go: below the models URI, or below the data directory where that URI is another machine's."""
    scheme, separator, rest = settings.models_uri.partition("://")
    if not separator:
        return Path(settings.models_uri)
    return Path(rest) if scheme == "file" else settings.data_dir / "trained"


def read_duration(text: str | None, option: str) -> "timedelta | None":
    """`7d` as a duration."""
    from schemas.durations import parse_duration

    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def read_span(since: str | None, until: str | None) -> "tuple[timedelta | None, timedelta | None]":
    """The durations of --since and --until.

    Raises:
        ClicksError: there is no time between them.
    """
    oldest, newest = read_duration(since, "--since"), read_duration(until, "--until")
    if oldest is not None and newest is not None and newest >= oldest:
        raise ClicksError(
            f"--until {until} leaves out all that --since {since} takes: "
            "give a shorter one, as in --since 30d --until 1d"
        )
    return oldest, newest


def read_clicks(source: Source, settings: "Settings") -> "Clicks":
    """A file's clicks, or those of the given age of the clicks topic or of the log, cut into sessions.

    Raises:
        ClicksError: an option does not go with the source, or there are no clicks.
    """
    from schemas.durations import milliseconds

    if source.clicks not in (KAFKA, LOG):
        for option, age in (("--since", source.since), ("--until", source.until)):
            if age is not None:
                raise ClicksError(
                    f"{option} chooses clicks of the topic, and they come from {source.clicks}: use --split"
                )
        from clicklog.click_files import read_click_file
        from clicklog.sessions import cut_file_by_silence

        clicks = read_click_file(Path(source.clicks), source.splits)
        return clicks if source.gap is None else cut_file_by_silence(clicks, milliseconds(source.gap))
    if source.splits:
        raise ClicksError(f"--split {','.join(source.splits)} chooses rows of a file, and the clicks come from Kafka")
    import time

    from clicklog.sessions import cut_by_silence
    from clicklog.topic_reader import read_click_topic

    now = time.time_ns() // 1_000_000
    since, until = (None if age is None else now - milliseconds(age) for age in (source.since, source.until))
    read = read_log if source.clicks == LOG else read_click_topic
    clicks = read(settings, since, until)
    if clicks.skipped:
        typer.echo(f"{clicks.skipped:,} messages are no valid click: skipped", err=True)
    if clicks.repeated:
        typer.echo(f"{clicks.repeated:,} clicks repeat the one before: skipped", err=True)
    gap = source.gap or settings.session_gap
    return replace(clicks, frame=cut_by_silence(clicks.frame, milliseconds(gap)))


def read_log(settings: "Settings", since: int | None, until: int | None) -> "Clicks":
    """The clicks of the archive, and of the topic from where it ends; says what neither has any more.

    Raises:
        ClicksError: there is no archive, or no click of that time.
    """
    from clicklog.archive.files import Archive
    from clicklog.log import open_log

    if not Archive(settings.archive_uri, settings.clicks_topic).files():
        raise ClicksError(
            f"NEXTCLICK_ARCHIVE_URI={settings.archive_uri} holds no archive of topic {settings.clicks_topic!r}: "
            "make one by `nextclick archive`, or read the topic alone by --clicks kafka"
        )
    with open_log(settings, since, until) as log:
        for line in log.missing:
            typer.echo(f"missing: {line}", err=True)
        return log.clicks()


@contextlib.contextmanager
def progress_bar() -> "Iterator[Callable[[Progress], None]]":
    """A bar with the loss, events/s and the time left on a terminal, and a line an epoch; on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("training")

        def advance(now: "Progress") -> None:
            text = f"epoch {now.epoch}  loss {now.loss:.4f}  {now.rate:,.0f} events/s"
            bar.update(task, total=now.total, completed=now.events, description=text)
            if now.epoch_done:
                console.print(text)

        yield advance
