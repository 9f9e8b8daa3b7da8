"""The table as a plot: Recall@20 and MRR@20 of each method, with the standard deviation over seeds."""

from collections.abc import Sequence
from pathlib import Path

from schemas.errors import TrainingError
from trainer.studies.compare.table import Row


def plot(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw horizontal bars, the best Recall@20 on top.

    Args:
        rows: at least one.
        title: above the plot.
        path: the file to write; its suffix determines the format: .svg, .png or .pdf.

    Raises:
        TrainingError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TrainingError("the plot needs matplotlib: pip install 'nextclick[study]'") from error
    ranked = sorted(rows, key=lambda row: row.recall.mean)
    names = [row.name for row in ranked]
    figure = Figure(figsize=(9, 1.2 + 0.4 * len(ranked)), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for column, (label, values) in enumerate(
        [("Recall@20", [row.recall for row in ranked]), ("MRR@20", [row.mrr for row in ranked])]
    ):
        axes = figure.add_subplot(1, 2, column + 1)
        means = [value.mean for value in values]
        bars = axes.barh(
            names, means, xerr=[value.spread or 0 for value in values], color="#4c78a8" if column == 0 else "#72b7b2"
        )
        axes.bar_label(bars, labels=[f"{value:.3f}" for value in means], padding=4, fontsize=8)
        axes.set_xlabel(label)
        axes.set_xlim(0, max(means, default=0) * 1.18 or 1)
        axes.spines[["top", "right"]].set_visible(False)
        if column:
            axes.set_yticks(axes.get_yticks(), [""] * len(names))
    figure.savefig(path)
