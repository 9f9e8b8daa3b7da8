"""`nextclick import`: the well-known public click logs, and any delimited file, converted to a file of clicks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

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
def rsc15(file: Log, out: Out) -> None:
    """RecSys Challenge 2015: yoochoose-clicks.dat (session, time, item, category; no header)."""
    from clicklog.importers import logs

    write(logs.rsc15(file), out)


@import_.command("diginetica")
def diginetica(file: Log, out: Out) -> None:
    """CIKM Cup 2016: train-item-views.csv (sessionId;userId;itemId;timeframe;eventdate)."""
    from clicklog.importers import logs

    write(logs.diginetica(file), out)


@import_.command("retailrocket")
def retailrocket(file: Log, out: Out, gap: Gap = "30m") -> None:
    """RetailRocket: the views of events.csv (timestamp,visitorid,event,itemid,transactionid), cut into sessions."""
    from clicklog.importers import logs

    write(logs.retailrocket(file, read_duration(gap, "--gap")), out)


@import_.command("csv")
def csv(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A delimited file with a header.")],
    out: Out,
    session: Annotated[str, typer.Option(help="Column of the session, or of the visitor with --gap.")] = "session_id",
    item: Annotated[str, typer.Option(help="Column of the item.")] = "item_id",
    time: Annotated[
        str, typer.Option(help="Column of the time; empty: there is none, and the lines are in click order.")
    ] = "timestamp",
    time_format: Annotated[
        Literal["iso", "ms", "s"], typer.Option(help="ISO 8601 in UTC, or milliseconds or seconds since 1970.")
    ] = "ms",
    separator: Annotated[str, typer.Option(help=r"Between fields: a character, or \t.")] = ",",
    gap: Annotated[
        str | None, typer.Option(help="Cut visitors into sessions where one was silent for longer: 30m.")
    ] = None,
) -> None:
    """Any delimited file with a header, by the names of its columns."""
    from clicklog.importers import logs

    parted = "\t" if separator == r"\t" else separator
    cut = read_duration(gap, "--gap") if gap is not None else None
    write(logs.delimited(file, session, item, time or None, time_format, parted, cut), out)


def write(log: "RawLog", out: Path) -> None:
    """Check and write a log, and say what it holds."""
    from datetime import UTC, datetime

    from clicklog.importers.writing import import_log

    imported = import_log(log, out)
    span = ""
    if imported.first is not None and imported.last is not None:
        first, last = (datetime.fromtimestamp(time / 1000, UTC) for time in (imported.first, imported.last))
        span = f", {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"{out}: {imported.clicks:,} clicks, {imported.sessions:,} sessions, {imported.items:,} items{span}")
