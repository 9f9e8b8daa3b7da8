"""Lines of the log as JSON: one object each, with the fields of the event."""

import io
import json
import logging
from typing import Any

import pytest

from schemas.log_format import LogFormat, log_formatter


def lines(form: LogFormat) -> list[str]:
    """What is written about three events, one of them an error with a traceback."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log_formatter(form))
    log = logging.Logger("worker.test")
    log.addHandler(handler)
    log.info("model %s is ready\n2nd line", "v1", extra={"model_version": "v1", "items": 3, "partitions": [0, 1]})
    log.warning("ünïcode %d", 5, extra={"path": io})
    try:
        raise ValueError("wrong")
    except ValueError:
        log.exception("stopping")
    return stream.getvalue().splitlines()


def test_each_event_is_one_object_with_its_own_fields() -> None:
    ready, other, error = (json.loads(line) for line in lines("json"))
    assert {name: ready[name] for name in ready if name != "time"} == {
        "level": "INFO",
        "logger": "worker.test",
        "message": "model v1 is ready\n2nd line",
        "model_version": "v1",
        "items": 3,
        "partitions": [0, 1],
    }
    assert other["message"] == "ünïcode 5"
    assert "module 'io'" in other["path"]
    assert error["exception"].endswith("ValueError: wrong")


@pytest.mark.parametrize("moment", [0.0, 1_767_225_600.1239])
def test_the_time_is_utc_with_milliseconds(moment: float) -> None:
    record: Any = logging.makeLogRecord({"created": moment, "msg": "x"})
    time = json.loads(log_formatter("json").format(record))["time"]
    assert time == {0.0: "1970-01-01T00:00:00.000Z"}.get(moment, "2026-01-01T00:00:00.123Z")


def test_for_people_it_is_text() -> None:
    assert lines("text")[0].endswith(" INFO worker.test: model v1 is ready")
