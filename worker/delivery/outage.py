"""Kafka's trouble in the log: one line when it begins, one a minute while it lasts, one when it is over.

Everything that tries again reports here. A broker that is away for 17 seconds makes thousands of failures in a dozen
places, and all of them are one outage.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from typing_extensions import override

from messaging.clients import broker_error, kafka_reason
from messaging.failures import passes
from schemas.settings import Settings

log = logging.getLogger(__name__)

REPEAT_SECONDS = 60.0
"""Time between two lines about the same outage."""

FORGET_SECONDS = 90.0
"""A part without a failure for this long is fine: it may have ended without a further try. Longer than any request."""

CLIENT_QUIET_SECONDS = 5.0
"""The same for the log of the Kafka client, which says when a request failed and never when one succeeded."""

CLIENT = "the Kafka client"
NORMAL = ("because it is rebalancing", "Heartbeat failed: local member_id was not recognized")
"""Warnings of the Kafka client about something that happens at every rebalance."""


@dataclass
class _Failing:
    since: float
    last: float


class Outage:
    """What fails at present, by the name of the part that tries again.

    It is used by the threads of the event loop and of the consumer.

    Args:
        clock: the time in seconds; tests pass their own.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failing: dict[str, _Failing] = {}
        self._began = self._said = self._last = 0.0
        self._failures = 0

    def failed(self, what: str, error: BaseException | str, since: float | None = None) -> None:
        """A part failed and will try again.

        Args:
            what: the part and its failure, such as "offsets are not committed".
            error: the reason.
            since: when it was first tried, by the clock; now by default.
        """
        reason = error if isinstance(error, str) else kafka_reason(error)
        with self._lock:
            now = self._clock()
            begins = not self._failing
            failing = self._failing.setdefault(what, _Failing(now if since is None else since, now))
            failing.last = self._last = now
            if begins:
                self._began = self._said = now
                self._failures = 0
                log.warning("trouble with Kafka: %s: %s; trying again", what, reason)
            self._failures += 1
            if now - self._said >= REPEAT_SECONDS:
                self._said = now
                log.warning(
                    "trouble with Kafka for %.0f s, %d failures; the last one: %s: %s",
                    now - self._began, self._failures, what, reason,
                )  # fmt: skip

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

    def worked(self, what: str) -> None:
        """A part that may have failed before succeeded, or does not try any more."""
        if what in self._failing:
            with self._lock:
                self._end(what)

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

    def _end(self, what: str) -> None:
        if self._failing.pop(what, None) is not None and not self._failing:
            log.warning(
                "Kafka works again: the trouble lasted %.0f s, with %d failures",
                self._last - self._began, self._failures,
            )  # fmt: skip


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
