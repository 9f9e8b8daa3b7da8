"""What an outage of Kafka leaves in the log, and what it tells `/health`."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import SettingsError
from worker.delivery.outage import CLIENT, CLIENT_QUIET_SECONDS, FORGET_SECONDS, Outage
from worker.logs import set_up_logging


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> Outage:
    return Outage(clock)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_one_line_at_the_beginning_one_a_minute_and_one_at_the_end(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(1200):  # 150 s
        outage.failed("answers are not written", "no broker")
        outage.failed("offsets are not committed", TimeoutError())
        clock.now += 0.125
    outage.worked("answers are not written")
    assert len(lines(caplog)) == 3
    outage.worked("offsets are not committed")
    first, minute, second_minute, over = lines(caplog)
    assert first == "trouble with Kafka: answers are not written: no broker; trying again"
    assert minute.startswith("trouble with Kafka for 60 s, 961 failures; the last one: ")
    assert second_minute.startswith("trouble with Kafka for 120 s, ")
    assert over == "Kafka works again: the trouble lasted 150 s, with 2400 failures"


def test_success_without_trouble_says_nothing(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.worked("answers are not written")
    outage.look(client_works=True)
    assert not lines(caplog)


def test_the_part_that_fails_for_the_longest_time_is_reported(outage: Outage, clock: Clock) -> None:
    outage.failed("first", "x", since=clock.now - 5)
    clock.now += 10
    outage.failed("second", "x")
    outage.failed("first", "x")
    assert outage.longest() == ("first", 15)
    outage.worked("first")
    assert outage.longest() == ("second", 0)


def test_the_log_of_the_client_is_no_reason_for_bad_health(outage: Outage) -> None:
    outage.failed(CLIENT, "Heartbeat send request failed")
    assert outage.longest() is None


def test_what_is_not_tried_any_more_is_forgotten(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outage.failed("offsets are not committed", "x")
    outage.failed(CLIENT, "y")
    clock.now += CLIENT_QUIET_SECONDS + 1
    outage.look(client_works=True)
    assert len(lines(caplog)) == 1
    clock.now += FORGET_SECONDS
    outage.look(client_works=True)
    assert lines(caplog)[1:] == ["Kafka works again: the trouble lasted 0 s, with 2 failures"]


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "worker", "worker.delivery", "mode.timers", "aiokafka")]
    before = [(logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    yield
    for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
        for handler in logger.handlers:
            if handler not in handlers:
                handler.close()
        logger.level, logger.handlers, logger.propagate = level, handlers, propagate
        logger.setLevel(level)


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize(
    ("level", "shown"),
    [
        (None, ["worker info", "delivery warning", "other warning"]),
        ("WARN", ["worker info", "delivery warning", "other warning"]),
        ("ERROR", []),
        ("INFO", ["worker info", "delivery info", "delivery warning", "other info", "other warning", "client info"]),
        ("DEBUG", ["worker info", "delivery info", "delivery warning", "other info", "other warning", "client info",
                   "client error"]),
    ],
)  # fmt: skip
def test_faust_names_the_level_and_the_file(
    level: str | None, shown: list[str], tmp_path: Path, outage: Outage
) -> None:
    file = tmp_path / "worker.log"
    set_up_logging(outage, level, str(file))
    logging.getLogger("worker.service").info("worker info")
    logging.getLogger("worker.delivery.store").info("delivery info")
    logging.getLogger("worker.delivery.store").warning("delivery warning")
    logging.getLogger("other").info("other info")
    logging.getLogger("other").warning("other warning")
    logging.getLogger("aiokafka.conn").info("client info")
    logging.getLogger("aiokafka.conn").error("client error")
    found = [line.partition(": ")[2] for line in file.read_text().splitlines()]
    assert [line for line in found if not line.startswith("trouble")] == shown


@pytest.mark.usefixtures("logging_as_before")
def test_errors_of_the_client_are_one_outage_and_rebalances_are_none(tmp_path: Path, outage: Outage) -> None:
    file = tmp_path / "worker.log"
    set_up_logging(outage, "WARN", str(file))
    logging.getLogger("aiokafka.consumer.group_coordinator").warning(
        "Heartbeat failed for group %s because it is rebalancing", "nextclick"
    )
    assert not file.read_text()
    for _ in range(100):
        logging.getLogger("aiokafka.conn").error("Unable to request metadata from %s", "127.0.0.1")
    (line,) = file.read_text().splitlines()
    assert line.endswith(
        "trouble with Kafka: the Kafka client: Unable to request metadata from 127.0.0.1; trying again"
    )


@pytest.mark.usefixtures("logging_as_before")
def test_a_log_file_that_cannot_be_written_is_one_line(tmp_path: Path, outage: Outage) -> None:
    with pytest.raises(SettingsError, match=r"the log file '.*/none/x\.log' \(faust -f\) cannot be written: No such"):
        set_up_logging(outage, None, str(tmp_path / "none" / "x.log"))
