"""`nextclick import`: the well-known public click logs, and any delimited file, converted to a file of clicks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clicklog.reading.form import DEFAULT_FORM, FileForm
from nextclick.commands.file_form import takes_file_form
from nextclick.commands.options import read_duration

if TYPE_CHECKING:
    from clicklog.importers.raw import RawLog

import_ = typer.Typer(
    no_args_is_help=True,
    help="Turn a public click log, or any delimited file, into a file of clicks that the other commands read.",
)

Log = Annotated[Path, typer.Argument(metavar="FILE", help="The log as it was published, unpacked.")]
Out = Annotated[Path, typer.Option(help="The file of clicks to write: .parquet or .csv.")]
Gap = Annotated[str, typer.Option(help="Silence of a visitor after which a session starts anew: 30m, 1h, …")]


@import_.command("rsc15")
@takes_file_form
def rsc15(file: Log, out: Out, form: FileForm = DEFAULT_FORM) -> None:
    """RecSys Challenge 2015: yoochoose-clicks.dat (session, time, item, category; no header)."""
    from clicklog.importers import logs
    from clicklog.importers.raw import open_log

    with open_log(file, form) as log:
        write(logs.rsc15(log), out)


@import_.command("diginetica")
@takes_file_form
def diginetica(file: Log, out: Out, form: FileForm = DEFAULT_FORM) -> None:
    """CIKM Cup 2016: train-item-views.csv (sessionId;userId;itemId;timeframe;eventdate)."""
    from clicklog.importers import logs
    from clicklog.importers.raw import open_log

    with open_log(file, form) as log:
        write(logs.diginetica(log), out)


@import_.command("retailrocket")
@takes_file_form
def retailrocket(file: Log, out: Out, gap: Gap = "30m", form: FileForm = DEFAULT_FORM) -> None:
    """RetailRocket: the views of events.csv (timestamp,visitorid,event,itemid,transactionid), cut into sessions."""
    from clicklog.importers import logs
    from clicklog.importers.raw import open_log

    silence = read_duration(gap, "--gap")
    with open_log(file, form) as log:
        write(logs.retailrocket(log, silence), out)


@import_.command("csv")
@takes_file_form
def csv(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A delimited file with a header.")],
    out: Out,
    session: Annotated[str, typer.Option(help="Column of the session, or of the visitor with --gap.")] = "session_id",
    item: Annotated[str, typer.Option(help="Column of the item.")] = "item_id",
    time: Annotated[
        str, typer.Option(help="Column of the time; empty: there is none, and the lines are in click order.")
    ] = "timestamp",
    time_format: Annotated[
        Literal["auto", "iso", "ms", "s"],
        typer.Option(help="ISO 8601 in UTC, or milliseconds or seconds since 1970; auto: found out from the times."),
    ] = "auto",
    separator: Annotated[str, typer.Option(help=r"Between fields: a character, or \t.")] = ",",
    gap: Annotated[
        str | None, typer.Option(help="Cut visitors into sessions where one was silent for longer: 30m.")
    ] = None,
    form: FileForm = DEFAULT_FORM,
) -> None:
    """Any delimited file with a header, by the names of its columns."""
    from clicklog.importers import logs
    from clicklog.importers.raw import open_log

    parted = "\t" if separator == r"\t" else separator
    cut = read_duration(gap, "--gap") if gap is not None else None
    with open_log(file, form) as log:
        write(logs.delimited(log, session, item, time or None, time_format, parted, cut), out)


def write(log: "RawLog", out: Path) -> None:
    """Check and write a log, and say what it holds, and what was left out."""
    from datetime import UTC, datetime

    from clicklog.importers.writing import import_log

    imported, left_out = import_log(log, out)
    for note in (log.note, str(left_out)):
        if note:
            typer.echo(note, err=True)
    span = ""
    if imported.first is not None and imported.last is not None:
        first, last = (datetime.fromtimestamp(time / 1000, UTC) for time in (imported.first, imported.last))
        span = f", {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"{out}: {imported.clicks:,} clicks, {imported.sessions:,} sessions, {imported.items:,} items{span}")
