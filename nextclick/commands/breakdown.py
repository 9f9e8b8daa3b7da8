"""`nextclick breakdown`: a bundle's Recall and MRR by groups of events, with confidence intervals."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clicklog.reading.form import DEFAULT_FORM, FileForm
from nextclick.commands import options
from nextclick.commands.file_form import takes_file_form
from nextclick.commands.judging import read_judged
from nextclick.commands.progress import evaluation_bar

if TYPE_CHECKING:
    from trainer.evaluation.breakdown import Intervals
    from trainer.evaluation.full_ranking import Evaluation


@takes_file_form
def breakdown(
    model: options.BundleDirectory,
    clicks: options.ClicksFile,
    split: options.Split = None,
    cutoffs: options.Cutoffs = options.CUTOFFS,
    popularity_groups: Annotated[
        int, typer.Option(min=1, help="Groups of items by training clicks, of about equal shares of these.")
    ] = 5,
    draws: Annotated[int, typer.Option(min=0, help="Sets of sessions drawn for the intervals; 0: none.")] = 1000,
    level: Annotated[float, typer.Option(min=0.01, max=0.999, help="Of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    ties: options.Ties = "conservative",
    json_: options.JsonFile = None,
    device: options.Device = None,
    form: FileForm = DEFAULT_FORM,
) -> None:
    """Recall@k and MRR@k in all, by position in the session, and by popularity of the item that was clicked next.

    The events and ranks are those of `nextclick evaluate`. The intervals draw whole sessions: the events of one
    depend on each other.
    """
    from clicklog.sessions import sessions_of
    from rankers.device import choose_device
    from trainer.evaluation.breakdown import by_popularity, by_position, session_bootstrap
    from trainer.evaluation.full_ranking import evaluation_of
    from trainer.evaluation.ranks import rank_streamed

    chosen = options.read_cutoffs(cutoffs)
    judged = read_judged(model, clicks, split, device, form=form)
    bundle = judged.bundle
    sessions = sessions_of(judged.clicks.frame, bundle.items)
    with evaluation_bar() as advance:
        ranker = bundle.ranker(choose_device(judged.device, judged.device_source))
        ranks = rank_streamed(ranker, sessions, ties, advance)
    groups = {
        "in all": {"all events": evaluation_of(ranks.rank, chosen)},
        "by clicks of the session so far": by_position(ranks, chosen),
        "by training clicks of the next item": by_popularity(ranks, bundle.items.support, chosen, popularity_groups),
    }
    intervals = session_bootstrap(ranks, chosen, draws, level, seed) if draws else None
    typer.echo(f"{judged.title}: {len(ranks):,} events")
    for title, figures in groups.items():
        show(title, figures)
    if intervals is not None:
        show_intervals(intervals, level)
    if json_ is not None:
        options.write_json(all_figures(groups, intervals), json_)


def show(title: str, figures: "Mapping[str, Evaluation]") -> None:
    """Print one table: a row for each group of events."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from nextclick.commands.tables import print_table

    cutoffs = list(next(iter(figures.values())).recall)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for name in ("events", *(f"Recall@{k}" for k in cutoffs), *(f"MRR@{k}" for k in cutoffs)):
        table.add_column(name, justify="right")
    for name, evaluation in figures.items():
        values = (*evaluation.recall.values(), *evaluation.mrr.values())
        table.add_row(name, f"{evaluation.events:,}", *(f"{value:.4f}" for value in values))
    print_table(table)


def show_intervals(intervals: "Intervals", level: float) -> None:
    """Print each metric with its interval."""
    typer.echo(f"{100 * level:g} % intervals, by sessions")
    for label, metrics in (("Recall", intervals.recall), ("MRR", intervals.mrr)):
        for cutoff, interval in metrics.items():
            name = f"{label}@{cutoff}"
            typer.echo(f"  {name:10} {interval.value:.4f}  {interval.low:.4f} to {interval.high:.4f}")


def all_figures(groups: "Mapping[str, Mapping[str, Evaluation]]", intervals: "Intervals | None") -> dict[str, Any]:
    """All tables and the intervals, for JSON."""
    from dataclasses import asdict

    figures: dict[str, Any] = {
        title: {name: asdict(evaluation) for name, evaluation in rows.items()} for title, rows in groups.items()
    }
    return figures if intervals is None else {**figures, "intervals": asdict(intervals)}
