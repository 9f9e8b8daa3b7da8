"""`nextclick split`: split into train, valid and test by time, filtered as in the published comparisons."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clicklog.reading.form import DEFAULT_FORM, FileForm
from nextclick.commands.click_source import read_file
from nextclick.commands.file_form import takes_file_form
from nextclick.commands.options import read_duration

if TYPE_CHECKING:
    from datetime import timedelta


@takes_file_form
def split(
    clicks: Annotated[Path, typer.Argument(metavar="FILE", help="A .parquet or .csv file of clicks.")],
    out: Annotated[Path, typer.Option(help="The file to write, with the column split: .parquet or .csv.")],
    test: Annotated[
        str, typer.Option(help="The newest sessions, to judge on: a span of time (1d, 12h) or a share of them (0.1).")
    ] = "1d",
    valid: Annotated[
        str | None, typer.Option(help="The same of the others, to choose settings by; none by default.")
    ] = None,
    min_support: Annotated[int, typer.Option(min=1, help="Fewest clicks of an item in train and valid.")] = 5,
    min_length: Annotated[int, typer.Option(min=2, help="Fewest clicks of a session.")] = 2,
    form: FileForm = DEFAULT_FORM,
) -> None:
    """Give clicks a split by time: train, test, and valid if asked for.

    A session belongs where its first click lies, and is never cut. Rare items and short sessions are dropped over and
    over until nothing changes; of the test sessions, clicks on items that training does not know are dropped.
    """
    import polars as pl

    from clicklog.click_file_writer import check_out, write_click_file
    from clicklog.splits import with_splits

    check_out(out, clicks if clicks.exists() else None)
    table = read_file(clicks, (), form=form)
    sizes = _size(test, "--test"), None if valid is None else _size(valid, "--valid")
    frame = with_splits(table.frame, *sizes, min_support, min_length)
    write_click_file(frame, out)
    typer.echo(f"{out}: {len(frame):,} of {len(table.frame):,} clicks")
    counts = frame.group_by("split", maintain_order=True).agg(
        pl.len().alias("clicks"), pl.col("session_id").n_unique(), pl.col("item_id").n_unique()
    )
    for name, click_count, sessions, items in counts.iter_rows():
        typer.echo(f"  {name:6}{click_count:12,} clicks{sessions:12,} sessions{items:10,} items")


def _size(text: str, option: str) -> "timedelta | float":
    """A span of time, or a share."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return read_duration(text, option)
    except typer.BadParameter as error:
        raise typer.BadParameter(f"{error.message}; or a share of the sessions, like 0.1", param_hint=option) from error
