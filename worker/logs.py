"""The worker's log: one line per event on standard error or in a file, at the level that `faust -l` names."""

import logging
import sys
from pathlib import Path
from typing import IO

from schemas.errors import SettingsError
from schemas.log_format import LogFormat, log_formatter
from worker.delivery.outage import ClientLog, Outage


def set_up_logging(
    outage: Outage, level: str | int | None = None, file: str | IO[str] | None = None, form: LogFormat = "text"
) -> None:
    """Set up the log of this process, anew where it is set up already.

    At the default level, warnings of all packages are shown, and what the worker itself has to say. At `debug` the log
    of the Kafka client is shown as it is; else its errors are part of an outage.

    Args:
        outage: collects the errors of the Kafka client.
        level: a name or number of the logging package; WARNING by default.
        file: a path or an open file; standard error by default.
        form: of the lines.

    Raises:
        SettingsError: the file cannot be written.
    """
    number = logging.WARNING if level is None else logging.getLevelNamesMapping().get(str(level).upper(), level)
    assert isinstance(number, int), f"faust accepts names of levels only, not {level!r}"
    default = number == logging.WARNING
    handler = _handler(file)
    handler.setFormatter(log_formatter(form))
    logging.basicConfig(handlers=[handler], level=number, force=True)
    logging.getLogger("worker").setLevel(logging.INFO if default else logging.NOTSET)
    logging.getLogger("worker.delivery").setLevel(logging.WARNING if default else logging.NOTSET)
    # A commit waits for the broker, and Faust warns of each second that its timer then waits.
    logging.getLogger("mode.timers").setLevel(logging.ERROR if default else logging.NOTSET)
    client = logging.getLogger("aiokafka")
    client.handlers = [ClientLog(outage)] if number > logging.DEBUG else []
    client.propagate = number <= logging.DEBUG


def _handler(file: str | IO[str] | None) -> logging.Handler:
    if not isinstance(file, str):
        return logging.StreamHandler(sys.stderr if file is None else file)
    try:
        return logging.FileHandler(Path(file))
    except OSError as error:
        raise SettingsError(f"the log file {file!r} (faust -f) cannot be written: {error.strerror}") from error
