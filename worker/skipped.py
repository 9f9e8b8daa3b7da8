"""Says how many clicks came again and were skipped, because they had been answered before."""

import asyncio
import logging
from time import monotonic

log = logging.getLogger(__name__)

QUIET_SECONDS = 2.0
"""The count is told when no click was skipped for this long."""

LONGEST_SECONDS = 60.0
"""While clicks are being skipped without a pause, the count is told this often."""


class SkippedClicks:
    """Counts skipped clicks until they are told."""

    def __init__(self) -> None:
        self._count = 0
        self._by_hand = False
        self._since = 0.0

    def add(self, count: int, by_hand: bool) -> None:
        """Count clicks.

        Args:
            count: of clicks that were skipped.
            by_hand: whether the group's offsets were not committed by a worker of this version.
        """
        if count and not self._count:
            self._since = monotonic()
        self._count += count
        self._by_hand |= bool(count) and by_hand

    async def tell(self) -> None:
        """Log the count after each run of skipped clicks, for as long as the worker runs."""
        before = 0
        while True:
            await asyncio.sleep(QUIET_SECONDS)
            if self._count and (self._count == before or monotonic() - self._since > LONGEST_SECONDS):
                self._log()
                self._count, self._by_hand = 0, False
            before = self._count

    def _log(self) -> None:
        skipped = f"{self._count:,} clicks came again and were skipped: they were answered before"
        if self._by_hand:
            log.warning(
                "%s. The group's offsets were set back by hand, or by an older version. To have clicks answered again, "
                "run `nextclick replay --since 7d --name again`",
                skipped,
            )
        else:
            log.info("%s (after a crash or a rebalance this is normal)", skipped)
