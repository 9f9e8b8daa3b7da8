"""An outage in the log: one line when it begins, one a minute while it lasts, one when it is over.

Everything that tries again reports to an `Outage`: a broker that is away for 17 seconds makes thousands of failures in
a dozen places, and all of them are one outage.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from messaging.failures import kafka_reason

REPEAT_SECONDS = 60.0
"""Time between two lines about the same outage."""


@dataclass
class Failing:
    """Since when a part fails, and when it failed last, by the clock of the outage."""

    since: float
    last: float


class Outage:
    """What fails at present, by the name of the part that tries again. It may be used by several threads.

    Args:
        log: where its lines go.
        subject: what there is trouble with.
        clock: the time in seconds; tests pass their own.
    """

    def __init__(self, log: logging.Logger, subject: str, clock: Callable[[], float] = monotonic) -> None:
        self._log, self._subject, self._clock = log, subject, clock
        self._lock = threading.Lock()
        self._failing: dict[str, Failing] = {}
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
            failing = self._failing.setdefault(what, Failing(now if since is None else since, now))
            failing.last = self._last = now
            if begins:
                self._began = self._said = now
                self._failures = 0
                self._log.warning("trouble with %s: %s: %s; trying again", self._subject, what, reason)
            self._failures += 1
            if now - self._said >= REPEAT_SECONDS:
                self._said = now
                self._log.warning(
                    "trouble with %s for %.0f s, %d failures; the last one: %s: %s",
                    self._subject, now - self._began, self._failures, what, reason,
                )  # fmt: skip

    def worked(self, what: str) -> None:
        """A part that may have failed before succeeded, or does not try any more."""
        if what in self._failing:
            with self._lock:
                self._end(what)

    def _end(self, what: str) -> None:
        if self._failing.pop(what, None) is not None and not self._failing:
            self._log.warning(
                "%s works again: the trouble lasted %.0f s, with %d failures",
                self._subject, self._last - self._began, self._failures,
            )  # fmt: skip
