"""`nextclick evaluate`: how well a bundle ranks the next click."""

from typing import TYPE_CHECKING, Annotated

import typer

from clicklog.reading.form import DEFAULT_FORM, FileForm
from nextclick.commands import options
from nextclick.commands.click_source import read_gap
from nextclick.commands.file_form import takes_file_form
from nextclick.commands.judging import read_judged
from nextclick.commands.progress import evaluation_bar

if TYPE_CHECKING:
    from trainer.evaluation.full_ranking import Evaluation


@takes_file_form
def evaluate(
    model: options.BundleDirectory,
    clicks: options.ClicksFile,
    split: options.Split = None,
    json_: options.JsonFile = None,
    ties: options.Ties = "conservative",
    cutoffs: options.Cutoffs = options.CUTOFFS,
    session_gap: Annotated[
        str | None,
        typer.Option(help="End sessions after a silence, as the model was trained: 30m …; never by default."),
    ] = None,
    device: options.Device = None,
    form: FileForm = DEFAULT_FORM,
) -> None:
    """Recall@k and MRR@k of the next item, ranked among all items of the model; nothing is filtered or sampled.

    Clicks on items that the model does not know are dropped, and their session goes on.
    """
    from trainer.train import evaluate_bundle

    wanted = options.read_cutoffs(cutoffs)
    judged = read_judged(model, clicks, split, device, read_gap(session_gap), form)
    with evaluation_bar() as advance:
        evaluation = evaluate_bundle(
            judged.bundle, judged.clicks, judged.device, ties, advance, wanted, judged.device_source
        )
    typer.echo(f"{judged.title}: {evaluation.events:,} events, full ranking")
    show(evaluation)
    if json_ is not None:
        figures = {
            "events": evaluation.events,
            "recall": {str(cutoff): value for cutoff, value in evaluation.recall.items()},
            "mrr": {str(cutoff): value for cutoff, value in evaluation.mrr.items()},
        }
        options.write_json(figures, json_)


def show(evaluation: "Evaluation") -> None:
    """Print the figures as a table."""
    from rich.table import Table

    from nextclick.commands.tables import print_table

    table = Table("k", "Recall@k", "MRR@k")
    for cutoff, recall in evaluation.recall.items():
        table.add_row(str(cutoff), f"{recall:.4f}", f"{evaluation.mrr[cutoff]:.4f}")
    print_table(table)
