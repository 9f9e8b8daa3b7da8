"""The steps of the demo, from the first topic to the last answer."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from clicklog.topic_writer import send_clicks
from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics
from nextclick.demo.flow import ClickFlow
from nextclick.demo.plan import DemoPlan
from nextclick.demo.processes import Child, DemoError
from nextclick.demo.scoreboard import Scoreboard
from nextclick.demo.screen import Figures, Screen, model_name
from nextclick.demo.traffic import SAMPLE, Traffic
from nextclick.demo.watch import watch
from schemas.announcement import ModelAnnouncement
from schemas.settings import Settings

TICK_SECONDS = 0.1
PATIENCE_SECONDS = 240.0
"""How long a step may make no progress; the first worker of a machine compiles its scorers, 10 s of CPU time."""

TRAINING_SECONDS = 900.0

WORKER = ["-m", "faust", "-A", "worker", "worker", "--without-web"]
TRAIN = ["-c", "from nextclick.cli import main; main()", "train", "--clicks", "kafka", "--publish"]


class Scenario:
    """One run of the demo on a broker that is up.

    Args:
        plan: sizes of the run.
        settings: also passed to the child processes.
        traffic: the clicks to send.
        screen: shows every step.
        directory: where the child processes run.
        children: every started child process is appended; the caller ends them.

    Attributes:
        figures: the results so far.
        flow: sends the second day's clicks.
        sent: clicks that Kafka has acknowledged.
    """

    def __init__(
        self,
        plan: DemoPlan,
        settings: Settings,
        traffic: Traffic,
        screen: Screen,
        directory: Path,
        children: list[Child],
    ) -> None:
        best = traffic.best(sessions=SAMPLE)
        self._announced: list[ModelAnnouncement] = []
        self._scoreboard = Scoreboard(traffic.popular, traffic.first_live_session)
        self.figures = Figures(self._scoreboard, self._announced, best.recall(), best.mrr())
        self.flow = ClickFlow(settings, traffic.live(), plan.rate, plan.shares[0])
        self._plan = plan
        self._settings = settings
        self._traffic = traffic
        self._screen = screen
        self._directory = directory
        self._children = children
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def sent(self) -> int:
        """Clicks that Kafka has acknowledged, of both days."""
        return len(self._traffic.first_day) + self.flow.sent

    async def play(self) -> None:
        """Run all steps.

        Raises:
            DemoError: a process ended early, or a step makes no progress.
        """
        try:
            await self._first_day()
            training = self._train(1)
            await self._until(lambda: self._scoreboard.answered >= self.sent, "the worker answers the first day")
            self._tasks.append(asyncio.create_task(self.flow.run()))
            await self._until_serving(training, 1, self._plan.shares[1])
            await self._serve(1, self._plan.shares[2])
            await self._until_serving(self._train(2), 2, self._plan.shares[3])
            await self._serve(2, 1.0)
            await self._last_answers()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _first_day(self) -> None:
        settings, screen = self._settings, self._screen
        clicks = self._traffic.first_day
        screen.step("Worker", "faust -A worker worker")
        async with admin(settings) as client:
            await create_topics(client, topic_contracts(settings))
        self._children.append(Child("worker", WORKER, settings, self._directory))
        self._tasks.append(asyncio.create_task(watch(settings, self._scoreboard, self._announced)))
        screen.done()
        screen.step("First day", f"{len(clicks):,} clicks, as fast as Kafka takes them")
        screen.figures = self.figures
        await send_clicks(settings, clicks)

    def _train(self, number: int) -> Child:
        days = "the first day" if number == 1 else "both days"
        self._screen.step(f"Training on {days}", "nextclick train --clicks kafka --publish")
        training = Child(f"training-{number}", [*TRAIN, *self._plan.training], self._settings, self._directory)
        training.lower_priority()
        self._children.append(training)
        return training

    async def _until_serving(self, training: Child, number: int, allowed: float) -> None:
        """Wait for the end of a training, its announcement, and the first live click that its model answers."""

        def trained() -> bool:
            if training.exit_code is None and (line := training.last_line).startswith("epoch"):
                self._screen.detail(line)
            return training.exit_code == 0 and len(self._announced) >= number

        await self._until(trained, f"model {number} is announced", TRAINING_SECONDS)
        announcement = self._announced[number - 1]
        span = announcement.trained_on
        self._screen.done(f"{announcement.version}, {span.clicks:,} clicks" if span else announcement.version)
        self.flow.allow(allowed)
        await self._until(
            lambda: self._scoreboard.score(announcement.version).answers > 0, f"model {number} answers a click"
        )

    async def _serve(self, number: int, allowed: float) -> None:
        """Wait until a model has answered enough clicks to be judged."""
        announcement, flow = self._announced[number - 1], self.flow
        self._screen.step(
            f"{model_name(number, announcement.version).capitalize()} serves",
            f"swapped in {self.swap_ms(number):,} ms, no restart",
        )
        flow.allow(allowed)
        score = self._scoreboard.score(announcement.version)
        await self._until(
            lambda: score.answers >= self._plan.judged or flow.sent >= flow.allowed,
            f"model {number} answers {self._plan.judged:,} clicks",
            self._plan.judged / self._plan.rate + PATIENCE_SECONDS,
        )

    async def _last_answers(self) -> None:
        self._screen.step("Last answers")
        self.flow.stop()
        await self._tasks[-1]
        moved, before = time.monotonic(), -1
        while (self._scoreboard.answered, self._scoreboard.clicks) != (self.sent, self.sent):
            if self._scoreboard.answered != before:
                moved, before = time.monotonic(), self._scoreboard.answered
            if time.monotonic() - moved > PATIENCE_SECONDS:
                break
            self._look()
            await asyncio.sleep(TICK_SECONDS)
        self._screen.done(f"{self._scoreboard.answered:,} of {self.sent:,} clicks answered")

    def swap_ms(self, number: int) -> int:
        """Time from a model's announcement to its first recommendation."""
        announcement = self._announced[number - 1]
        first = self._scoreboard.score(announcement.version).first_answer_at
        assert first is not None
        return first - round(announcement.announced_at.timestamp() * 1000)

    async def _until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():
            self._look()
            if time.monotonic() > end:
                raise DemoError(f"waited {seconds:g} s in vain until {what}; the worker's last words: {self._worker()}")
            await asyncio.sleep(TICK_SECONDS)

    def _look(self) -> None:
        """Print figures when they are due, and raise if a process has failed."""
        self._screen.tick()
        for child in self._children:
            child.check()
        for task in self._tasks:
            if task.done():
                task.result()

    def _worker(self) -> str:
        return self._children[0].last_line
