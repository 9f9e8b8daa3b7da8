"""`nextclick tune`: searches for good settings of a network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clicklog.reading.form import DEFAULT_FORM, FileForm
from nextclick.commands.click_source import read_file
from nextclick.commands.file_form import takes_file_form
from nextclick.commands.options import ClicksFile, Device, read_names
from nextclick.commands.progress import terminal_bar
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from trainer.fit import Progress
    from trainer.studies.tune.search import Trial


@takes_file_form
def tune(
    clicks: ClicksFile,
    split: Annotated[
        str | None, typer.Option(help="Only these splits of the file, comma separated: those of training.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of an earlier search included.")] = 30,
    validation: Annotated[
        float, typer.Option(min=0.001, max=0.9, help="Share of the sessions, the newest, to judge on.")
    ] = 0.1,
    metric: Annotated[Literal["recall", "mrr"], typer.Option(help="Recall@20 or MRR@20 on them.")] = "recall",
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="An option of `train` to search: NAME=LOW..HIGH, NAME=A|B|C, or NAME alone for the usual range. Give "
            "it once for each; by default the usual ones of the loss.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Options of `train` as a TOML file: what is not searched, and the first trial.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Most epochs of a trial.", show_default="those of --config")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search and of every trial.")] = 0,
    device: Device = None,
    journal: Annotated[
        Path, typer.Option(help="The file of the trials: when stopped, the same command goes on from it.")
    ] = Path("tune.journal"),
    out: Annotated[Path, typer.Option(help="The best settings, for `train --config`.")] = Path("best.toml"),
    form: FileForm = DEFAULT_FORM,
) -> None:
    """Search for good settings on the newest sessions of the training clicks; test clicks have no part in it.

    Each trial is judged after every epoch, and given up once it is below the median of the others. The best settings,
    the number of epochs among them, go to --out.
    """
    import torch

    from rankers.device import choose_device
    from schemas.settings import load_settings
    from trainer.config import BLEND, TrainConfig
    from trainer.settings_file import read_train_config, train_options, with_options, write_train_config
    from trainer.studies.tune.search import search as find
    from trainer.studies.tune.space import default_space, read_space

    settings = load_settings()
    chosen_device = choose_device(device or settings.device, "--device" if device else "NEXTCLICK_DEVICE")
    torch.set_num_threads(settings.torch_threads)
    base = read_train_config(config) if config is not None else TrainConfig()
    if base.validate and base.family != BLEND:  # a blend holds out a part of its own to fit its weight
        raise SettingsError(
            f"{config}: validate = {base.validate}: the share to judge on is --validation here: leave it out"
        )
    base = with_options(base, {"seed": seed, "device": str(chosen_device)})
    if epochs is not None:
        base = with_options(base, {"epochs": epochs})
    space = read_space(search, base) if search else default_space(base)
    table = read_file(clicks, read_names(split), form=form)
    name = f"{'Recall' if metric == 'recall' else 'MRR'}@20"
    with _progress(trials, name) as (advance, ended):
        found = find(table, base, space, journal, trials, validation, metric, ended, advance)
    assert found.best.value is not None
    source = f"{clicks.name}{f' ({split})' if split else ''}"
    options = train_options(found.config)
    if options.get("input") == TrainConfig().input:
        del options["input"]  # the default input needs no line
    write_train_config(
        options,
        out,
        f"Best of {found.trials} trials on {source}: {name} {found.best.value:.4f} on the newest {validation:g} of the "
        "sessions.",
    )
    typer.echo(f"{name} {found.best.value:.4f} in trial {found.best.number}{_epoch(found.best)}")
    for option, value in found.best.settings.items():
        typer.echo(f"  {option} = {_short(value)}")
    typer.echo(f"{out}: nextclick train --config {out} --clicks {clicks}")


@contextmanager
def _progress(trials: int, metric: str) -> "Iterator[tuple[Callable[[int, Progress], None], Callable[[Trial], None]]]":
    """On standard error: a bar of the running trial (on a terminal), and a line for each finished trial."""
    with terminal_bar() as bar:
        task = bar.add_task("")

        def advance(number: int, now: "Progress") -> None:
            bar.update(
                task,
                total=now.total,
                completed=now.events,
                description=f"trial {number + 1} of {trials}, epoch {now.epoch}, loss {now.loss:.4f}",
            )

        def ended(trial: "Trial") -> None:
            chosen = ", ".join(f"{name} {_short(value)}" for name, value in trial.settings.items())
            figure = trial.impossible or "diverged"
            if trial.value is not None:
                figure = f"{metric} {trial.value:.4f}{_epoch(trial)}"
            bar.console.print(f"trial {trial.number}: {figure}{', given up' if trial.pruned else ''}: {chosen}")

        yield advance, ended


def _epoch(trial: "Trial") -> str:
    """A model that is counted has no epochs."""
    return f", epoch {trial.epochs}" if trial.epochs else ""


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
