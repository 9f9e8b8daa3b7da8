"""The second day's clicks as they flow: at a rate, as far as they may, until stopped."""

import asyncio

import polars as pl

from nextclick.clickstream import send_clicks
from schemas.settings import Settings

PAUSE_SECONDS = 0.05


class ClickFlow:
    """Sends clicks at a rate; some are held back for what comes later.

    Attributes:
        sent: clicks that Kafka has acknowledged.
        allowed: the flow pauses after so many clicks; raise it to let it go on.
    """

    def __init__(self, settings: Settings, clicks: pl.DataFrame, rate: float, allowed: float) -> None:
        self.sent = 0
        self._settings = settings
        self._clicks = clicks
        self._rate = rate
        self._stop = asyncio.Event()
        self.allow(allowed)

    def allow(self, share: float) -> None:
        """Let the flow go on up to this share of the clicks."""
        self.allowed = round(share * len(self._clicks))

    def stop(self) -> None:
        """Send no further click; those on their way are still acknowledged."""
        self._stop.set()

    async def run(self) -> None:
        """Send until stopped."""
        while not self._stop.is_set():
            if self.sent == self.allowed:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            before = self.sent

            def acknowledged(clicks: int, before: int = before) -> None:
                self.sent = before + clicks

            piece = self._clicks[before : self.allowed]
            self.sent = before + await send_clicks(
                self._settings, piece, rate=self._rate, stop=self._stop, progress=acknowledged
            )
