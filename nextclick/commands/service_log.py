"""The log of a command that runs as a service, as NEXTCLICK_LOG_FORMAT says."""

import logging
from collections.abc import Callable

import typer

from schemas.log_format import JsonFormatter
from schemas.settings import Settings


def service_log(settings: Settings, name: str) -> Callable[..., None]:
    """Set up the log of this process; its warnings go to standard error.

    Args:
        settings: the format.
        name: of the logger of the command's own lines, in JSON.

    Returns:
        a function that says a line, with fields of its own for JSON: on standard output as text, or in the log.
    """
    if settings.log_format == "text":
        logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
        return lambda line, **_fields: typer.echo(line)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    log = logging.getLogger(name)
    log.setLevel(logging.INFO)
    return lambda line, **fields: log.info("%s", line, extra=fields)
