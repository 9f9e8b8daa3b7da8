"""Progress on standard error: a bar on a terminal, and lines everywhere."""

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, ProgressColumn

    from trainer.fit import Progress as FitProgress


@contextlib.contextmanager
def terminal_bar(*columns: "ProgressColumn") -> "Iterator[Progress]":
    """A bar, drawn on a terminal only; `.console.print` writes lines with or without a terminal.

    Args:
        columns: by default description, bar, percentage and time left.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar


@contextlib.contextmanager
def training_bar() -> "Iterator[Callable[[FitProgress], None]]":
    """A bar with the loss, events/s and the time left, and a line for each epoch."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
    )
    with terminal_bar(*columns) as bar:
        task = bar.add_task("training")

        def advance(now: "FitProgress") -> None:
            text = f"epoch {now.epoch}  loss {now.loss:.4f}  {now.rate:,.0f} events/s"
            bar.update(task, total=now.total, completed=now.events, description=text)
            if now.epoch_done:
                bar.console.print(text)

        yield advance


@contextlib.contextmanager
def evaluation_bar() -> "Iterator[Callable[[int, int], None]]":
    """A bar of the share of events judged so far."""
    with terminal_bar() as bar:
        task = bar.add_task("evaluating")
        yield lambda done, total: bar.update(task, completed=done, total=total)
