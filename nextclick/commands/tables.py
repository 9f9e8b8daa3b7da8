"""Tables on standard output: whole in a pipe or a file, fitted to the width of a terminal."""

from rich.console import Console
from rich.table import Table

WIDEST = 100_000


def print_table(table: Table, narrowest: int = 0) -> None:
    """Print a table of plain texts.

    A terminal's lines wrap and nothing is cut off. A pipe or a file has no width: each row is one line there.

    Args:
        table: its cells are printed as they are; Rich's markup has no meaning in them.
        narrowest: characters of a line; a terminal with fewer wraps the lines.
    """
    console = Console(markup=False, emoji=False, highlight=False)
    console.width = max(console.width, narrowest)
    if not console.is_terminal:
        needed = console.measure(table, options=console.options.update(width=WIDEST)).maximum
        console.width = max(console.width, needed)
    for column in table.columns:
        column.overflow = "fold"
    console.print(table)
