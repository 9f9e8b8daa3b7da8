"""What the demo shows: the steps so far and live figures on a terminal, plain lines elsewhere."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nextclick.demo.scoreboard import Scoreboard, VersionScore
from schemas.announcement import ModelAnnouncement

FRAMES_PER_SECOND = 4
PLAIN_SECONDS = 5.0
"""Seconds between two lines of figures without a terminal."""

RATE_SECONDS = 3.0
BAR = 24
"""Length, in characters, of the bar of the best possible Recall."""


@dataclass
class _Step:
    title: str
    detail: str = ""
    begun: float = 0.0
    seconds: float | None = None


@dataclass
class Figures:
    """The figures that are shown while clicks are sent.

    Attributes:
        scoreboard: counts and metrics.
        announced: the models announced so far, oldest first.
        best_recall: the best expected Recall@20 of any recommender on these clicks.
        best_mrr: the same for MRR@20.
    """

    scoreboard: Scoreboard
    announced: Sequence[ModelAnnouncement]
    best_recall: float
    best_mrr: float

    def rows(self) -> list[tuple[str, VersionScore]]:
        """Name and score of every model that has answered live clicks; popular items come first."""
        named: list[tuple[str, str | None]] = [("popular items", None)]
        named += [(model_name(number, made.version), made.version) for number, made in enumerate(self.announced, 1)]
        scores = [(name, self.scoreboard.score(version)) for name, version in named]
        return [(name, score) for name, score in scores if score.answers]


def model_name(number: int, version: str) -> str:
    """`model 1 (8f571d)`: number and last part of the version."""
    return f"model {number} ({version.rpartition('-')[2]})"


class Screen:
    """Shows the steps, and figures once there are some; a context manager.

    Args:
        console: on a terminal, a live screen is drawn.
    """

    def __init__(self, console: Console) -> None:
        self.figures: Figures | None = None
        self._console = console
        self._steps: list[_Step] = []
        self._begin = time.monotonic()
        self._printed = self._begin
        self._counted: deque[tuple[float, int]] = deque()
        self._live = (
            Live(console=console, get_renderable=self._render, refresh_per_second=FRAMES_PER_SECOND)
            if console.is_terminal
            else None
        )

    @property
    def seconds(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._begin

    def step(self, title: str, detail: str = "") -> None:
        """Begin the next step and end the previous one."""
        self.done()
        self._steps.append(_Step(title, detail, self.seconds))
        if self._live is None:
            self._line(f"{title}{f' ({detail})' if detail else ''}")

    def detail(self, text: str) -> None:
        """Set the detail text of the present step."""
        self._steps[-1].detail = text

    def done(self, detail: str | None = None) -> None:
        """End the present step."""
        if not self._steps or self._steps[-1].seconds is not None:
            return
        step = self._steps[-1]
        step.seconds = self.seconds - step.begun
        step.detail = step.detail if detail is None else detail
        if self._live is None and detail:
            self._line(f"  {detail}")

    def tick(self) -> None:
        """Without a terminal, print the figures every PLAIN_SECONDS."""
        now = time.monotonic()
        if self._live is None and now - self._printed >= PLAIN_SECONDS:
            self._printed = now
            if self.figures is None:
                self._line(f"  {self._steps[-1].detail}")
                return
            recalls = "; ".join(f"{name} {score.own.recall:.3f}" for name, score in self.figures.rows())
            self._line(f"  {self._load(self.figures)}{f'; Recall@20: {recalls}' if recalls else ''}")

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def _line(self, text: str) -> None:
        self._console.print(f"[{self.seconds:4.0f} s] {text}", markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        steps = Table.grid(padding=(0, 1), expand=True)
        steps.add_column(width=1)
        steps.add_column(no_wrap=True)
        steps.add_column(no_wrap=True, overflow="ellipsis", ratio=1, style="dim")
        steps.add_column(justify="right", no_wrap=True)
        for step in self._steps:
            running = step.seconds is None
            seconds = self.seconds - step.begun if step.seconds is None else step.seconds
            mark = Text("▸", "bold yellow") if running else Text("✓", "green")
            steps.add_row(mark, Text(step.title, "bold" if running else ""), Text(step.detail), f"{seconds:.0f} s")
        parts: list[RenderableType] = [steps]
        if self.figures is not None:
            parts += [Text(), score_table(self.figures), Text(self._load(self.figures), "cyan")]
        return Group(*parts)

    def _load(self, figures: Figures) -> str:
        board = figures.scoreboard
        now = time.monotonic()
        self._counted.append((now, board.answered))
        while len(self._counted) > 2 and now - self._counted[0][0] > RATE_SECONDS:
            self._counted.popleft()
        since, before = self._counted[0]
        rate = (board.answered - before) / (now - since) if now > since else 0.0
        median, late = board.latency(0.5, latest=True), board.latency(0.99, latest=True)
        latency = "" if median is None else f" · latency p50 {median} ms, p99 {late} ms"
        return f"{rate:,.0f} clicks/s · {board.answered:,} answered, {max(board.waiting, 0):,} waiting{latency}"


def score_table(figures: Figures) -> Table:
    """Live Recall@20 and MRR@20 of each model, with those of the first day's popular items and the best possible."""
    table = Table(box=None, padding=(0, 1), header_style="bold", pad_edge=False)
    table.add_column("answered by", no_wrap=True)
    for heading in ("clicks", "Recall@20", "MRR@20"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="crop")
    popular = VersionScore()
    rows = figures.rows()
    for name, score in rows:
        own = score.own
        bar = Text("█" * round(BAR * min(own.recall / figures.best_recall, 1)), "green" if name != rows[0][0] else "")
        table.add_row(name, f"{score.answers:,}", f"{own.recall:.3f}", f"{own.mrr:.3f}", bar)
        for field in ("labels", "hits", "reciprocal_ranks"):
            both = getattr(popular.popularity, field) + getattr(score.popularity, field)
            setattr(popular.popularity, field, both)
    before = popular.popularity
    bar = Text("█" * round(BAR * min(before.recall / figures.best_recall, 1)), "dim")
    table.add_row("top 20 of the first day", "same", f"{before.recall:.3f}", f"{before.mrr:.3f}", bar, style="dim")
    bar = Text("█" * BAR, "dim")
    table.add_row("best possible", "", f"{figures.best_recall:.3f}", f"{figures.best_mrr:.3f}", bar, style="dim")
    return table
