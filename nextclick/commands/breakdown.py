"""`nextclick breakdown`: where a bundle's Recall and MRR come from, and how sure they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from schemas.errors import ClicksError

if TYPE_CHECKING:
    from trainer.evaluation.breakdown import Intervals
    from trainer.evaluation.full_ranking import Evaluation


def breakdown(
    model: Annotated[Path, typer.Option(help="The bundle's directory.")],
    clicks: Annotated[Path, typer.Option(help="A .parquet or .csv file of clicks.")],
    split: Annotated[str | None, typer.Option(help="Only these splits of the file, comma separated.")] = None,
    cutoffs: Annotated[str, typer.Option(help="The k of Recall@k and MRR@k, comma separated.")] = "1,5,10,20",
    popularity_groups: Annotated[
        int, typer.Option(min=1, help="Groups of items by training clicks, of about equal shares of these.")
    ] = 5,
    draws: Annotated[int, typer.Option(min=0, help="Sets of sessions drawn for the intervals; 0: none.")] = 1000,
    level: Annotated[float, typer.Option(min=0.01, max=0.999, help="Of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    ties: Annotated[
        Literal["conservative", "standard", "median"],
        typer.Option(help="Items that score the same as the next one count against it, not at all, or half."),
    ] = "conservative",
    json_: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file, too.")] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N; NEXTCLICK_DEVICE by default.", show_default=False)
    ] = None,
) -> None:
    """Recall@k and MRR@k in all, by position in the session, and by popularity of the item that was clicked next.

    The events and ranks are those of `nextclick evaluate`. The intervals draw whole sessions: the events of one
    depend on each other.
    """
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from clicklog.click_files import read_click_file
    from clicklog.sessions import sessions_of
    from rankers.bundle import read_bundle
    from rankers.device import choose_device
    from schemas.settings import load_settings
    from trainer.evaluation.breakdown import by_popularity, by_position, session_bootstrap
    from trainer.evaluation.full_ranking import evaluation_of
    from trainer.evaluation.ranks import rank_streamed

    chosen = read_cutoffs(cutoffs)
    settings = load_settings()
    chosen_device = choose_device(device or settings.device, "--device" if device else "NEXTCLICK_DEVICE")
    torch.set_num_threads(settings.torch_threads)
    bundle = read_bundle(model)
    table = read_click_file(clicks, [name.strip() for name in split.split(",")] if split else [])
    sessions = sessions_of(table.frame, bundle.items)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("evaluating")
        ranks = rank_streamed(
            bundle.ranker(chosen_device),
            sessions,
            ties,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    groups = {
        "in all": {"all events": evaluation_of(ranks.rank, chosen)},
        "by clicks of the session so far": by_position(ranks, chosen),
        "by training clicks of the next item": by_popularity(ranks, bundle.items.support, chosen, popularity_groups),
    }
    intervals = session_bootstrap(ranks, chosen, draws, level, seed) if draws else None
    typer.echo(f"{bundle.version} on {table.source}{f' ({split})' if split else ''}: {len(ranks):,} events")
    for title, figures in groups.items():
        show(title, figures)
    if intervals is not None:
        show_intervals(intervals, level)
    if json_ is not None:
        write_json(groups, intervals, json_)


def read_cutoffs(text: str) -> list[int]:
    """`1,5,20` in ascending order.

    Raises:
        BadParameter: not whole numbers from 1.
    """
    try:
        cutoffs = sorted({int(part) for part in text.split(",")})
    except ValueError:
        cutoffs = []
    if not cutoffs or cutoffs[0] < 1:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers from 1, such as 1,5,20", param_hint="--cutoffs")
    return cutoffs


def show(title: str, figures: "Mapping[str, Evaluation]") -> None:
    """Print one table: a row for each group of events."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    cutoffs = list(next(iter(figures.values())).recall)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for name in ("events", *(f"Recall@{k}" for k in cutoffs), *(f"MRR@{k}" for k in cutoffs)):
        table.add_column(name, justify="right")
    for name, evaluation in figures.items():
        values = (*evaluation.recall.values(), *evaluation.mrr.values())
        table.add_row(name, f"{evaluation.events:,}", *(f"{value:.4f}" for value in values))
    Console().print(table)


def show_intervals(intervals: "Intervals", level: float) -> None:
    """Print each metric with its interval."""
    typer.echo(f"{100 * level:g} % intervals, by sessions")
    for label, metrics in (("Recall", intervals.recall), ("MRR", intervals.mrr)):
        for cutoff, interval in metrics.items():
            name = f"{label}@{cutoff}"
            typer.echo(f"  {name:10} {interval.value:.4f}  {interval.low:.4f} to {interval.high:.4f}")


def write_json(groups: "Mapping[str, Mapping[str, Evaluation]]", intervals: "Intervals | None", path: Path) -> None:
    """Write all tables and the intervals."""
    import json
    from dataclasses import asdict

    figures: dict[str, Any] = {
        title: {name: asdict(evaluation) for name, evaluation in rows.items()} for title, rows in groups.items()
    }
    if intervals is not None:
        figures["intervals"] = asdict(intervals)
    try:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ClicksError(f"--json {path} cannot be written: {error.strerror or error}") from error
