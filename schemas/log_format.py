"""Lines of the log: for people, or one JSON object each for programs."""

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

from typing_extensions import override

LogFormat = Literal["text", "json"]

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def log_formatter(form: LogFormat) -> logging.Formatter:
    """Makes the lines of a log."""
    return logging.Formatter(TEXT) if form == "text" else JsonFormatter()


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `time` (ISO 8601, UTC), `level`, `logger`, `message`, what the call gave as `extra`,
    and `exception` with the traceback.

    Example:
        >>> log.info("model %s is ready", version, extra={"model_version": version})
        {"time": "2026-01-01T00:00:00.000Z", "level": "INFO", "logger": "worker.model_follower", "message": "model v1 is
        ready", "model_version": "v1"}
    """

    @override
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD | line.keys()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
