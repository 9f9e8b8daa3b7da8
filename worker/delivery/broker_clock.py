"""The broker's time, so that a wrong or jumping clock of the worker's machine decides nothing.

Brokers stamp what they take in (`message.timestamp.type=LogAppendTime`), and every acknowledgement says that time.
Between two acknowledgements the monotonic clock goes on, which nobody can set.
"""

import logging
import time
from collections.abc import Callable
from time import monotonic

log = logging.getLogger(__name__)

TOLD_SECONDS = 60.0
"""A difference between the two clocks that changed by more than this is told."""


class BrokerClock:
    """The broker's time where an acknowledgement has told it; else the worker's, which must not jump.

    Args:
        wall: the worker's clock, in seconds since 1970 UTC; tests pass their own.
        steady: a clock in seconds that nobody sets.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = monotonic) -> None:
        self._wall, self._steady = wall, steady
        self._begin = self._mine_minus_steady()
        self._broker: float | None = None  # the broker's time minus the steady one, in seconds
        self._bound: float | None = None  # the same, of a time that the broker has reached at least
        self._acknowledged = False
        self._told = 0.0

    def now_ms(self) -> int:
        """The time now, ms since 1970 UTC. Before the first acknowledgement, not before what the broker has stamped."""
        if self._broker is not None:
            return self._at(self._broker)
        mine = self._mine_minus_steady()
        return self._at(mine if self._bound is None else max(mine, self._bound))

    def surely_ms(self) -> int | None:
        """A time that has passed, even if the worker's clock jumped ahead, ms since 1970 UTC; None: not known yet."""
        if self._broker is not None:
            return self._at(self._broker)
        return self._at(min(self._begin, self._mine_minus_steady())) if self._acknowledged else None

    def acknowledged(self, stamped_ms: int | None) -> None:
        """The broker acknowledged records just now, and stamped them with this time (None: it does not stamp)."""
        self._acknowledged = True
        if stamped_ms is None:
            return
        self._broker = stamped_ms / 1000 - self._steady()
        ahead = self._mine_minus_steady() - self._broker
        if abs(ahead - self._told) > TOLD_SECONDS:
            self._told = ahead
            if abs(ahead) > TOLD_SECONDS:
                log.warning(
                    "this machine's clock is %.0f s %s the broker's, which is used instead: set it right",
                    abs(ahead), "ahead of" if ahead > 0 else "behind",
                )  # fmt: skip
            else:
                log.warning("this machine's clock and the broker's agree again")

    def reached(self, stamped_ms: int) -> None:
        """The broker stamped a record with this time, now or earlier."""
        bound = stamped_ms / 1000 - self._steady()
        if self._bound is None or bound > self._bound:
            self._bound = bound

    def _mine_minus_steady(self) -> float:
        return self._wall() - self._steady()

    def _at(self, minus_steady: float) -> int:
        return round((minus_steady + self._steady()) * 1000)
