"""`nextclick compare`: the paper's table on your own clicks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from clicklog.reading.form import DEFAULT_FORM, FileForm
from nextclick.commands.click_source import read_file
from nextclick.commands.file_form import takes_file_form
from nextclick.commands.options import Ties, read_names
from nextclick.commands.progress import terminal_bar
from schemas.errors import ClicksError, TrainingError
from trainer.config import FamilyName

if TYPE_CHECKING:
    from trainer.studies.compare.methods import Comparison, Method, Outcome
    from trainer.studies.compare.results import Results
    from trainer.studies.compare.table import Row

WIDTH = 132
"""Width of the printed table in characters; narrower terminals wrap its lines instead of cutting figures off."""

ALL = ",".join(("pop,s-pop,item-knn,bpr-mf,markov,fpmc", *get_args(FamilyName)))


@takes_file_form
def compare(
    clicks: Annotated[Path, typer.Option(help="A .parquet or .csv file of clicks with a column split.")],
    train_split: Annotated[str, typer.Option(help="Splits to train on, comma separated.")] = "train",
    test_split: Annotated[str, typer.Option(help="Splits to judge on, comma separated.")] = "test",
    methods: Annotated[
        str, typer.Option(help="Names, comma separated; NAME=FILE.toml is a model with the options of `train`.")
    ] = ALL,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method that draws at random: seeds 1, 2, …")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of the finished runs, the table and the plot.")] = Path(
        "comparison"
    ),
    min_support: Annotated[int, typer.Option(min=1, help="Fewest clicks of an item in training.")] = 5,
    min_length: Annotated[int, typer.Option(min=2, help="Fewest clicks of a session in training.")] = 2,
    ties: Ties = "conservative",
    device: Annotated[
        str | None,
        typer.Option(help="Of networks: auto, cpu, cuda or cuda:N; NEXTCLICK_DEVICE by default.", show_default=False),
    ] = None,
    form: FileForm = DEFAULT_FORM,
) -> None:
    """Train and judge several methods on the same clicks, and print the paper's table.

    Every method ranks the next item among all items; the gain is over item-knn. Each finished run is kept in --out at
    once: when stopped, or asked for more seeds or methods, the same command makes only what is missing.
    """
    import torch

    from schemas.settings import load_settings
    from trainer.studies.compare.files import write_files
    from trainer.studies.compare.methods import Comparison, read_methods
    from trainer.studies.compare.results import Results, file_digest
    from trainer.studies.compare.table import table

    settings = load_settings()
    torch.set_num_threads(settings.torch_threads)
    chosen = read_methods([name for name in methods.split(",") if name.strip()])
    comparison = Comparison(
        read_file(clicks, read_names(train_split), form=form),
        read_file(clicks, read_names(test_split), form=form),
        min_support,
        min_length,
        ties,
        device or settings.device,
        "--device" if device else "NEXTCLICK_DEVICE",
    )
    make_folder(out)
    data = {
        "sha256": file_digest(clicks),
        "splits": [read_names(train_split), read_names(test_split)],
        "filters": [min_support, min_length],
        "ties": ties,
        **form.rows_chosen,
    }
    outcomes = run_all(comparison, chosen, seeds, data, Results(out / "runs.jsonl"))
    rows = table(outcomes)
    title = f"{clicks.name}: {train_split} → {test_split}, {ties} ties"
    show(rows, title)
    for path in write_files(rows, title, out):
        typer.echo(str(path))


def make_folder(out: Path) -> None:
    """Make the folder of --out where it is missing.

    Raises:
        ClicksError: a file of that name exists, or the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClicksError(f"--out {out} is no folder to write to: {error.strerror or error}") from error


def run_all(
    comparison: "Comparison", chosen: "Sequence[Method]", seeds: int, data: "Mapping[str, object]", results: "Results"
) -> "dict[str, list[Outcome]]":
    """Do every run that `results` lacks; progress goes to standard error."""
    from trainer.studies.compare.results import run_key

    runs = [(method, seed) for method in chosen for seed in range(1, (seeds if method.seeded else 1) + 1)]
    outcomes: dict[str, list[Outcome]] = {method.name: [] for method in chosen}
    with _progress(len(runs)) as (start, report, say):
        for number, (method, seed) in enumerate(runs):
            name = f"{method.name}, seed {seed}" if method.seeded else method.name
            key = run_key(data, method.settings, seed)
            outcome = results.find(key)
            start(number, name)
            if outcome is not None:
                say(f"{name}: kept from before")
            else:
                try:
                    outcome = method.run(comparison, seed, report)
                except TrainingError as error:
                    raise TrainingError(f"{name}: {error}") from error
                results.add(key, method.name, method.settings, seed, outcome)
                figures = outcome.evaluation
                say(
                    f"{name}: Recall@20 {figures.recall[20]:.4f}, MRR@20 {figures.mrr[20]:.4f}, trained in "
                    f"{outcome.train_seconds:.1f} s, {figures.events:,} events ranked in {outcome.rank_seconds:.1f} s"
                )
            outcomes[method.name].append(outcome)
    return outcomes


def show(rows: "Sequence[Row]", title: str) -> None:
    """Print the table on standard output."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from nextclick.commands.tables import print_table
    from trainer.studies.compare.table import HEADINGS

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "method" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.cells)
    print_table(table, WIDTH)


@contextmanager
def _progress(
    runs: int,
) -> "Iterator[tuple[Callable[[int, str], None], Callable[[str, float], None], Callable[[str], None]]]":
    """Two bars on a terminal (all runs, and the current run); a line for each finished run everywhere."""
    with terminal_bar() as bar:
        whole = bar.add_task("runs", total=runs)
        now = bar.add_task("", total=1)
        title = ""

        def start(number: int, name: str) -> None:
            nonlocal title
            title = name
            bar.update(whole, completed=number)
            bar.update(now, completed=0, description=name)

        def report(doing: str, share: float) -> None:
            bar.update(now, completed=share, description=f"{title}: {doing}")

        yield start, report, bar.console.print
