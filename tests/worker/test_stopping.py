"""A worker that is asked to stop ends in time: soon where no broker answers, later where one does."""

from types import SimpleNamespace

import pytest

from worker.delivery import app as module
from worker.delivery.app import DeliveryApp


class Ended(BaseException):
    """The process ended."""


class Worker:
    """A worker that does not stop by itself. The broker is away after `answers_for` seconds."""

    now = 500.0

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers_for: float, trouble_after: float = 1e9) -> None:
        begin = self.now
        self.codes: list[int] = []
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(module, "sleep", self.sleep)
        monkeypatch.setattr(module.os, "_exit", self.exit)
        monkeypatch.setattr(module.logging, "shutdown", lambda: None)
        self.consumer = SimpleNamespace(is_member=lambda: self.now - begin < answers_for)
        self.outage = SimpleNamespace(longest=lambda: ("x", 1.0) if self.now - begin >= trouble_after else None)

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds < 60
        self.now += seconds

    def exit(self, code: int) -> None:
        self.codes.append(code)
        raise Ended

    def stop(self) -> None:
        with pytest.raises(Ended):
            DeliveryApp._end_in_time(self)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers_for", "trouble_after", "seconds"),
    [(0, 1e9, 9), (1e9, 0, 9), (1e9, 1e9, 50), (20, 1e9, 20), (1e9, 30, 30)],
)
def test_a_stop_takes_9_seconds_at_most_or_50_while_the_broker_answers(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answers_for: float,
    trouble_after: float,
    seconds: int,
) -> None:
    worker = Worker(monkeypatch, answers_for, trouble_after)
    worker.stop()
    assert worker.now - 500 == seconds
    assert worker.codes == [0]
    assert f"not stopped after {seconds} s: ending now; clicks under way are delivered again" in caplog.text


def test_a_worker_is_ready_while_nothing_is_wrong() -> None:
    worker = SimpleNamespace(ill_health=lambda: None)
    assert DeliveryApp.ready(worker)  # type: ignore[arg-type]
    worker.ill_health = lambda: "session states are being recovered"
    assert not DeliveryApp.ready(worker)  # type: ignore[arg-type]


class Stopping(SimpleNamespace):
    """An app whose part has failed."""

    async def refresh_metadata(self) -> None:
        self.asked = True


@pytest.mark.parametrize("stops", [False, True])
async def test_the_topics_are_asked_for_again_unless_the_worker_stops(stops: bool) -> None:
    app = Stopping(should_stop=stops, asked=False)
    app.consumer = app
    await DeliveryApp._refresh_topics(app)  # type: ignore[arg-type]
    assert app.asked is not stops


async def test_a_part_that_fails_ends_the_worker_unless_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[BaseException] = []
    monkeypatch.setattr(module.faust.App, "crash", lambda _self, _reason: _done())
    monkeypatch.setattr(DeliveryApp, "fail", lambda _self, error: failed.append(error))
    app = object.__new__(DeliveryApp)
    reason = ValueError("broken")
    monkeypatch.setattr(DeliveryApp, "should_stop", False)
    await app.crash(reason)
    assert failed == [reason]
    monkeypatch.setattr(DeliveryApp, "should_stop", True)
    await app.crash(reason)
    assert failed == [reason]


async def _done() -> None:
    pass
