"""`nextclick train`: trains a model bundle on clicks."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clicklog.reading.form import DEFAULT_FORM, FileForm
from nextclick.commands.bundle_delivery import BundleDelivery
from nextclick.commands.click_source import ClickSource
from nextclick.commands.file_form import takes_file_form
from nextclick.commands.model_options import (
    check_no_network_options,
    config_of,
    is_of_networks_only,
    read_config,
    read_preset,
    takes_model_options,
)
from nextclick.commands.options import Device, Split
from nextclick.commands.progress import training_bar
from schemas.errors import TrainingError
from trainer.preset_files import PRESETS

if TYPE_CHECKING:
    from clicklog.clicks import Clicks
    from schemas.settings import Settings
    from trainer.config import TrainConfig


@takes_file_form
@takes_model_options
def train(
    clicks: Annotated[
        str,
        typer.Option(
            help="A .parquet or .csv file of clicks; `kafka`: the clicks topic; `log`: its archive and topic as one."
        ),
    ],
    split: Split = None,
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
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Keep the state of every epoch in this directory, and go on from it after an interruption."),
    ] = None,
    network_from: Annotated[
        Path | None,
        typer.Option(help="blend: take the trained network of this bundle, and count the neighbours only."),
    ] = None,
    config: Annotated[  # noqa: ARG001
        Path | None,
        typer.Option(callback=read_config, is_eager=True, help="The same options as a TOML file: batch-size = 32, …"),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            callback=read_preset,
            is_eager=True,
            help=f"Known-good settings by name ({', '.join(PRESETS)}), of one family; other options beside it win.",
        ),
    ] = None,
    device: Device = None,
    form: FileForm = DEFAULT_FORM,
    **options: Any,
) -> None:
    """Train a model bundle on clicks.

    The defaults were chosen on validation parts of public data: docs/training.md. With a few thousand items,
    --samples 512 is nearly as good and half as fast again; the paper's settings are --samples 0 --input one-hot
    --reset before.
    """
    from schemas.settings import load_settings

    settings = load_settings()
    source = ClickSource.of(clicks, split, since, until, session_gap, form)
    delivery = BundleDelivery(out, publish, checkpoint)
    if network_from is not None and preset is not None:
        raise TrainingError(f"--preset {preset} trains a network, and --network-from takes one: give one of them")
    if network_from is not None:
        run_with_network(source, options, device or settings.device, network_from, delivery, settings)
        return
    run(source, config_of(options, device or settings.device), delivery, settings)


def run_with_network(
    source: ClickSource,
    options: Mapping[str, Any],
    device: str,
    network_from: Path,
    delivery: BundleDelivery,
    settings: "Settings",
) -> None:
    """Count neighbours for the network of a bundle, write the blend and publish it."""
    import torch

    from rankers.bundle import read_bundle
    from trainer.blending.join import join_network, network_in
    from trainer.options import used_values

    check_no_network_options(options)
    if delivery.checkpoint is not None:
        raise TrainingError(
            f"--checkpoint {delivery.checkpoint} keeps the training of a network, and --network-from takes one that is "
            "trained: leave it out"
        )
    network = network_in(read_bundle(network_from))
    config = config_of({**options, "network": network.family}, device)
    delivery.check(config, settings)
    clicks = source.read(settings)
    torch.set_num_threads(settings.torch_threads)
    typer.echo(f"{clicks.source}: {len(clicks.frame):,} clicks", err=True)
    used = {name: value for name, value in used_values(config).items() if not is_of_networks_only(name)}
    told = {"clicks": source.clicks, "split": ",".join(source.splits), **source.form.rows_chosen, **used}
    trained = join_network(
        clicks, config, network, told, lambda line: typer.echo(line, err=True), device_source(config, settings)
    )
    delivery.deliver(trained.bundle, trained.fit, settings)


def device_source(config: "TrainConfig", settings: "Settings") -> str:
    """Where the device of a training comes from, for error messages."""
    return "NEXTCLICK_DEVICE" if config.device == settings.device else "--device"


def run(source: ClickSource, config: "TrainConfig", delivery: BundleDelivery, settings: "Settings") -> None:
    """Read, train, write and publish. If torchrun started several processes, all of them train."""
    from trainer.distributed import process_group
    from trainer.options import used_values

    def read() -> "Clicks":
        delivery.check(config, settings)
        return source.read(settings)

    with process_group() as process:
        # Rank zero reads for all: other processes could read other clicks of the topic or have other options.
        clicks, config = process.on_rank_zero(lambda: (read(), config))

        import torch  # imported late: a misspelt file name is reported without the wait for torch

        from trainer.train import train as train_bundle

        torch.set_num_threads(settings.torch_threads)
        typer.echo(f"{clicks.source}: {len(clicks.frame):,} clicks", err=True)
        told = {
            "clicks": source.clicks,
            "split": ",".join(source.splits),
            **source.form.rows_chosen,
            **used_values(config),
        }
        source_of_device = device_source(config, settings)

        def say(line: str) -> None:
            typer.echo(line, err=True)

        with training_bar() as advance:
            trained = train_bundle(
                clicks, config, told, advance, delivery.checkpoint, process, device_source=source_of_device, say=say
            )
        process.on_rank_zero(lambda: delivery.deliver(trained.bundle, trained.fit, settings))
