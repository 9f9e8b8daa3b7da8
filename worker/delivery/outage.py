"""What of Kafka fails at present, as the log and `/health` tell it."""

import logging
from collections.abc import Callable
from time import monotonic

from typing_extensions import override

from messaging import outage
from messaging.clients import broker_error
from messaging.failures import passes
from schemas.settings import Settings

log = logging.getLogger(__name__)

FORGET_SECONDS = 90.0
"""A part without a failure for this long is fine: it may have ended without a further try. Longer than any request."""

CLIENT_QUIET_SECONDS = 5.0
"""The same for the log of the Kafka client, which says when a request failed and never when one succeeded."""

CLIENT = "the Kafka client"
NORMAL = ("because it is rebalancing", "Heartbeat failed: local member_id was not recognized")
"""Warnings of the Kafka client about something that happens at every rebalance."""


class Outage(outage.Outage):
    """What of Kafka fails at present. It is used by the threads of the event loop and of the consumer.

    Args:
        clock: the time in seconds; tests pass their own.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(log, "Kafka", clock)

    def try_again(self, what: str, error: BaseException, settings: Settings) -> None:
        """Report an error that passes by itself, before another try.

        Args:
            what: as in `failed`.
            error: of Kafka, or of the connection.
            settings: name the broker in errors.

        Raises:
            BrokerError: the error stays until somebody acts.
        """
        if not passes(error):
            raise broker_error(error, settings, what) from error
        self.failed(what, error)

    def look(self, client_works: bool) -> None:
        """Forget the parts that do not fail any more. Called about once a second.

        Args:
            client_works: whether the broker has answered a moment ago.
        """
        with self._lock:
            now = self._clock()
            for what, failing in list(self._failing.items()):
                quiet = CLIENT_QUIET_SECONDS if what == CLIENT and client_works else FORGET_SECONDS
                if now - failing.last > quiet:
                    self._end(what)

    def longest(self) -> tuple[str, float] | None:
        """The part that has been failing for the longest time, and for how many seconds; None if none fails."""
        with self._lock:
            mine = [(failing.since, what) for what, failing in self._failing.items() if what != CLIENT]
            if not mine:
                return None
            since, what = min(mine)
            return what, self._clock() - since


class ClientLog(logging.Handler):
    """Takes the log of the Kafka client. Warnings and errors are part of an outage, the rest goes to the root log."""

    def __init__(self, outage: Outage) -> None:
        super().__init__()
        self._outage = outage

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            message = record.getMessage()
            if not any(each in message for each in NORMAL):
                self._outage.failed(CLIENT, message)
        elif record.levelno >= logging.root.level:
            for handler in logging.root.handlers:
                handler.handle(record)
