"""Counts rejected messages by reason, and says so without filling the log."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from time import monotonic

from worker.rejects import Reject

log = logging.getLogger(__name__)

QUIET_SECONDS = 60.0
"""After the first message of a reason, the next ones are told together after this time."""

LOOK_SECONDS = 1.0


class RejectLog:
    """One line for the first message of each reason in a minute, then one with how many more there were.

    Args:
        clock: the time in seconds; tests pass their own.

    Attributes:
        counts: rejected messages by the kind of their reason, since the start.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._more: dict[str, int] = {}  # kind → messages since the last line, for kinds that were told lately
        self._told: dict[str, float] = {}

    def add(self, counts: Mapping[str, int], first: Mapping[str, Reject]) -> None:
        """Count messages of a batch.

        Args:
            counts: messages by kind.
            first: the first message of each kind.
        """
        for kind, count in counts.items():
            self.counts[kind] += count
            if kind in self._more:
                self._more[kind] += count
            else:
                self._told[kind], self._more[kind] = self._clock(), count - 1
                _tell(kind, first[kind])

    def look(self) -> None:
        """Tell how many more there were, of the reasons whose first line is a minute old."""
        for kind in [kind for kind, told in self._told.items() if self._clock() - told >= QUIET_SECONDS]:
            more = self._more.pop(kind)
            del self._told[kind]
            if more:
                log.warning(
                    "%s more messages were rejected in the last minute (%s)", f"{more:,}", kind,
                    extra={"reason": kind, "count": more},
                )  # fmt: skip

    async def tell(self) -> None:
        """Look again and again, for as long as the worker runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()


def _tell(kind: str, reject: Reject) -> None:
    log.warning(
        "the message of partition %d at offset %d is no click (%s): %s; it is on the rejected topic. More of this kind "
        "are told together, once a minute",
        reject.partition, reject.offset, kind, reject.reason,
        extra={"reason": kind, "partition": reject.partition, "offset": reject.offset},
    )  # fmt: skip
