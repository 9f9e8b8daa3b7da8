"""The table of a comparison: for each method the mean and standard deviation over seeds, and the gain over Item-KNN."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from schemas.recommendation import TOP
from trainer.studies.compare.methods import Outcome

YARDSTICK = "item-knn"
"""Gains are relative to this method, as in the 2016 paper."""

HEADINGS = (
    "method",
    "seeds",
    "Recall@20",
    "gain",
    "MRR@20",
    "gain",
    "training s",
    "trained events/s",
    "ranked events/s",
)


@dataclass(frozen=True)
class Figure:
    """A mean over seeds, and their standard deviation (None with one seed)."""

    mean: float
    spread: float | None

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + (f" ± {self.spread:.4f}" if self.spread is not None else "")


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        name: of the method.
        seeds: runs that went into the means.
        events: test events of each run.
        recall: Recall@20.
        mrr: MRR@20.
        recall_gain: relative gain over Item-KNN's Recall@20; None if Item-KNN did not run, or its Recall@20 is 0.
        mrr_gain: the same for MRR@20.
        train_seconds: mean wall time of a fit.
        trained_per_second: events trained per second, counted in every epoch.
        ranked_per_second: test events ranked per second.
    """

    name: str
    seeds: int
    events: int
    recall: Figure
    mrr: Figure
    recall_gain: float | None
    mrr_gain: float | None
    train_seconds: float
    trained_per_second: float
    ranked_per_second: float

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells as text, in the order of `HEADINGS`."""
        return (
            self.name,
            str(self.seeds),
            str(self.recall),
            _percent(self.recall_gain),
            str(self.mrr),
            _percent(self.mrr_gain),
            f"{self.train_seconds:,.1f}",
            _thousands(self.trained_per_second),
            _thousands(self.ranked_per_second),
        )


def table(outcomes: Mapping[str, Sequence[Outcome]]) -> list[Row]:
    """One row for each method, in the order of `outcomes`, from the outcomes of its seeds."""
    recall = {name: _figure([run.evaluation.recall[TOP] for run in runs]) for name, runs in outcomes.items()}
    mrr = {name: _figure([run.evaluation.mrr[TOP] for run in runs]) for name, runs in outcomes.items()}
    return [
        Row(
            name=name,
            seeds=len(runs),
            events=runs[0].evaluation.events,
            recall=recall[name],
            mrr=mrr[name],
            recall_gain=_gain(recall[name], recall.get(YARDSTICK)),
            mrr_gain=_gain(mrr[name], mrr.get(YARDSTICK)),
            train_seconds=mean(run.train_seconds for run in runs),
            trained_per_second=_rate(sum(run.trained_events for run in runs), sum(run.train_seconds for run in runs)),
            ranked_per_second=_rate(sum(run.evaluation.events for run in runs), sum(run.rank_seconds for run in runs)),
        )
        for name, runs in outcomes.items()
    ]


def markdown(rows: Sequence[Row], title: str) -> str:
    """The table as Markdown."""
    lines = [f"# {title}", "", "| " + " | ".join(HEADINGS) + " |", "|---" + "|---:" * (len(HEADINGS) - 1) + "|"]
    lines += ["| " + " | ".join(row.cells) + " |" for row in rows]
    lines += [
        "",
        f"Full ranking of {rows[0].events:,} events, ties counted as the title says. Gains are over {YARDSTICK}. ± is "
        "the standard deviation over seeds; a method with one seed draws nothing at random, or was given one.",
    ]
    return "\n".join(lines) + "\n"


def _figure(values: Sequence[float]) -> Figure:
    return Figure(mean(values), stdev(values) if len(values) > 1 else None)


def _gain(figure: Figure, yardstick: Figure | None) -> float | None:
    return figure.mean / yardstick.mean - 1 if yardstick is not None and yardstick.mean else None


def _rate(count: int, seconds: float) -> float:
    return count / max(seconds, 1e-9)


def _thousands(rate: float) -> str:
    for unit, size in ((" M", 1e6), (" k", 1e3), ("", 1)):
        if rate >= size:
            return (f"{rate / size:,.0f}" if rate >= 100 * size else f"{rate / size:.3g}") + unit
    return f"{rate:.2g}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:+.1f} %"
