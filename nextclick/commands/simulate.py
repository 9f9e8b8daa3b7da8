"""`nextclick simulate`: clicks of a synthetic shop, and the best reachable figures on them."""

from pathlib import Path
from typing import Annotated

import typer

_SAMPLE = 10_000
"""Sessions of the last day that the best reachable figures are computed on: ± 0.005, in under two seconds."""


def simulate(
    sessions: Annotated[int, typer.Option(min=1, max=10_000_000, help="Sessions in all, spread evenly over the days.")],
    out: Annotated[Path, typer.Option(help="The file to write: .parquet or .csv.", show_default=False)],
    days: Annotated[int, typer.Option(min=1, max=366, help="Days from the first click to the last.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same file.")] = 0,
    optimum: Annotated[bool, typer.Option(help="Compute the best reachable Recall@20 and MRR@20.")] = True,
) -> None:
    """Write clicks of a synthetic shop, in order of time.

    Columns: session_id, item_id, timestamp (ms since 1970 UTC) and split: `test` for the sessions that begin on the
    last day, `train` for the others; with one day all are `train`.

    Items have a category, a brand and a style. A visitor follows one of these, which the last click alone does not
    tell, so that a model of the session clearly beats item-to-item counts. Each day 3 % of the items are launched and
    as many retired.

    The best reachable figures follow from the process that makes the clicks: no recommender can be better, but for
    chance. They count every next click of (at most 10,000) sessions of the last day. `nextclick evaluate` leaves out
    items that were launched after the training, which raises the bound of its Recall@20 by about 0.01.
    """
    from clicklog.click_file_writer import check_out, write_click_file
    from nextclick.shop import ShopConfig, best_ranking, last_click_ranking, open_shop, visit
    from nextclick.shop.click_table import with_split

    check_out(out)
    shop = open_shop(ShopConfig(), days, seed)
    clicks = visit(shop, sessions, seed)
    write_click_file(with_split(clicks, split_last_day=days > 1), out)
    typer.echo(
        f"{out}: {len(clicks.item_id):,} clicks, {sessions:,} sessions, {len(set(clicks.item_id.tolist())):,} items, "
        f"{_utc(int(clicks.timestamp[0]))} to {_utc(int(clicks.timestamp[-1]))} UTC"
    )
    if optimum:
        best, last_click = (rank(shop, clicks, _SAMPLE) for rank in (best_ranking, last_click_ranking))
        if len(best.rank) == 0:
            typer.echo("best reachable: unknown, for no session began on the last day")
            return
        typer.echo(f"{f'{len(best.rank):,} next clicks of the last day':42} Recall@20   MRR@20")
        typer.echo(f"{'best reachable from the session so far':42} {best.recall():9.3f} {best.mrr():8.3f}")
        typer.echo(f"{'best reachable from the last click only':42} {last_click.recall():9.3f} {last_click.mrr():8.3f}")


def _utc(timestamp: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%Y-%m-%d %H:%M")
