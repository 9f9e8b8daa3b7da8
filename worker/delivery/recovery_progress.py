"""How far a recovery of session states is."""

from collections.abc import Callable
from time import monotonic


class RecoveryProgress:
    """The present recovery; between recoveries, the last one.

    Offsets are counted, not records: compaction leaves offsets without a record.

    Args:
        clock: the time in seconds; tests pass their own.

    Attributes:
        running: whether states are being recovered.
        read: changelog offsets that were read.
        to_read: changelog offsets that this recovery reads in all; 0 until it is known.
        recoveries: number of recoveries that ended.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._began = self._ended = self._reading_since = 0.0
        self.running = False
        self.read = self.to_read = self.recoveries = 0

    def begin(self) -> None:
        """States are being recovered from now on. Another try of the same recovery counts its offsets anew."""
        if not self.running:
            self._began = self._clock()
        self.running = True
        self.read = self.to_read = 0

    def will_read(self, offsets: int) -> None:
        """The changelog has so many offsets that RocksDB lacks; they are read from now on, after a failed try anew."""
        self.read, self.to_read, self._reading_since = 0, offsets, self._clock()

    def end(self) -> None:
        """All states are recovered."""
        self._ended = self._clock()
        self.running = False
        self.recoveries += 1

    @property
    def seconds(self) -> float:
        """How long this recovery has taken so far; of the last one, how long it took."""
        return (self._clock() if self.running else self._ended) - self._began

    @property
    def seconds_left(self) -> float:
        """Estimate from the speed so far; 0 after the end, and while nothing was read."""
        if not self.running or not self.read:
            return 0.0
        return (self.to_read - self.read) * (self._clock() - self._reading_since) / self.read
