"""A bundle and the clicks that it is judged on, as `evaluate` and `breakdown` take them from their options."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from clicklog.reading.form import DEFAULT_FORM, FileForm
from nextclick.commands.click_source import read_file
from nextclick.commands.options import read_names

if TYPE_CHECKING:
    from datetime import timedelta

    from clicklog.clicks import Clicks
    from rankers.bundle import Bundle


@dataclass(frozen=True)
class Judged:
    """The model to judge, the clicks to judge it on, and the device.

    Attributes:
        bundle: the model.
        clicks: the clicks of the chosen splits.
        device: a name for `choose_device`.
        device_source: the option or setting that names the device.
        title: version, file and splits, for the first line of the output.
    """

    bundle: "Bundle"
    clicks: "Clicks"
    device: str
    device_source: str
    title: str


def read_judged(
    model: Path,
    clicks: Path,
    split: str | None,
    device: str | None,
    gap: "timedelta | None" = None,
    form: FileForm = DEFAULT_FORM,
) -> Judged:
    """Read --model, --clicks, --split and --device; torch gets as many threads as the settings say.

    Clicks on items that the model does not know are counted on standard error.

    Raises:
        BundleError: there is no readable bundle.
        ClicksError: the clicks cannot be read.
    """
    import torch

    from rankers.bundle import read_bundle
    from schemas.settings import load_settings

    settings = load_settings()
    torch.set_num_threads(settings.torch_threads)
    bundle = read_bundle(model)
    table = read_file(clicks, read_names(split), gap, form)
    total, unknown = len(table.frame), int((bundle.items.rows(table.frame["item_id"]) < 0).sum())
    if unknown:
        typer.echo(f"{clicks}: {unknown:,} of {total:,} clicks left out: the model does not know their items", err=True)
    title = f"{bundle.version} on {table.source}{f' ({split})' if split else ''}"
    return Judged(bundle, table, device or settings.device, "--device" if device else "NEXTCLICK_DEVICE", title)
