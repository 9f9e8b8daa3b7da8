"""`nextclick evaluate`: how well a bundle ranks the next click."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nextclick.commands.train import read_duration
from schemas.errors import ClicksError

if TYPE_CHECKING:
    from trainer.evaluation.full_ranking import Evaluation


def evaluate(
    model: Annotated[Path, typer.Option(help="The bundle's directory.")],
    clicks: Annotated[Path, typer.Option(help="A .parquet or .csv file of clicks.")],
    split: Annotated[str | None, typer.Option(help="Only these splits of the file, comma separated.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file, too.")] = None,
    ties: Annotated[
        Literal["conservative", "standard", "median"],
        typer.Option(help="Items that score the same as the next one count against it, not at all, or half."),
    ] = "conservative",
    cutoffs: Annotated[str, typer.Option(help="The k of Recall@k and MRR@k, comma separated.")] = "1,5,10,20",
    session_gap: Annotated[
        str | None,
        typer.Option(help="End sessions after a silence, as the model was trained: 30m …; never by default."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N; NEXTCLICK_DEVICE by default.", show_default=False)
    ] = None,
) -> None:
    """Recall@k and MRR@k of the next item, ranked among all items of the model; nothing is filtered or sampled.

    Clicks on items that the model does not know are dropped, and their session goes on.
    """
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from clicklog.click_files import read_click_file
    from clicklog.sessions import cut_file_by_silence
    from rankers.bundle import read_bundle
    from schemas.durations import milliseconds
    from schemas.settings import load_settings
    from trainer.train import evaluate_bundle

    wanted, gap = read_cutoffs(cutoffs), read_duration(session_gap, "--session-gap")
    settings = load_settings()
    torch.set_num_threads(settings.torch_threads)
    bundle = read_bundle(model)
    table = read_click_file(clicks, [name.strip() for name in split.split(",")] if split else [])
    if gap is not None:
        table = cut_file_by_silence(table, milliseconds(gap))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("evaluating")
        evaluation = evaluate_bundle(
            bundle,
            table,
            device or settings.device,
            ties,
            lambda done, total: bar.update(task, completed=done, total=total),
            wanted,
            "--device" if device else "NEXTCLICK_DEVICE",
        )
    show(evaluation, f"{bundle.version} on {table.source}{f' ({split})' if split else ''}")
    if json_ is not None:
        write_json(evaluation, json_)


def read_cutoffs(text: str) -> list[int]:
    """`5,20` as numbers."""
    try:
        cutoffs = [int(number) for number in text.split(",")]
    except ValueError:
        cutoffs = []
    if not cutoffs or min(cutoffs) < 1:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers from 1", param_hint="--cutoffs")
    return cutoffs


def show(evaluation: "Evaluation", title: str) -> None:
    """Print the figures as a table."""
    from rich.console import Console
    from rich.table import Table

    typer.echo(f"{title}: {evaluation.events:,} events, full ranking")
    table = Table("k", "Recall@k", "MRR@k")
    for cutoff, recall in evaluation.recall.items():
        table.add_row(str(cutoff), f"{recall:.4f}", f"{evaluation.mrr[cutoff]:.4f}")
    Console().print(table)


def write_json(evaluation: "Evaluation", path: Path) -> None:
    """Write `{"events": n, "recall": {"1": …}, "mrr": {"1": …}}`."""
    import json

    figures = {
        "events": evaluation.events,
        "recall": {str(cutoff): value for cutoff, value in evaluation.recall.items()},
        "mrr": {str(cutoff): value for cutoff, value in evaluation.mrr.items()},
    }
    try:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ClicksError(f"--json {path} cannot be written: {error.strerror or error}") from error
