"""Sends the second day's clicks at a rate up to an allowed count, then slowly, until stopped."""

import asyncio

import polars as pl

from clicklog.topic_writer import send_clicks
from schemas.settings import Settings

TRICKLE_SECONDS = 0.5
TRICKLE = 10
"""Clicks per TRICKLE_SECONDS beyond the allowed count: enough to see that a model serves, and to last for minutes."""


class ClickFlow:
    """Sends clicks at a rate; some are held back for later steps of the demo.

    Attributes:
        sent: clicks that Kafka has acknowledged.
        allowed: number of clicks to send at the full rate; beyond it, `TRICKLE` clicks per `TRICKLE_SECONDS`.
    """

    def __init__(self, settings: Settings, clicks: pl.DataFrame, rate: float, allowed: float) -> None:
        self.sent = 0
        self._settings = settings
        self._clicks = clicks
        self._rate = rate
        self._stop = asyncio.Event()
        self.allow(allowed)

    def allow(self, share: float) -> None:
        """Allow this share of all clicks at the full rate."""
        self.allowed = round(share * len(self._clicks))

    def stop(self) -> None:
        """Send no further click; clicks already sent are still acknowledged."""
        self._stop.set()

    async def run(self) -> None:
        """Send until stopped."""
        while not self._stop.is_set():
            end = self.allowed
            if self.sent >= self.allowed:
                await asyncio.sleep(TRICKLE_SECONDS)
                end = self.sent + TRICKLE
            before = self.sent

            def acknowledged(clicks: int, before: int = before) -> None:
                self.sent = before + clicks

            piece = self._clicks[before:end]
            self.sent = before + await send_clicks(
                self._settings, piece, rate=self._rate, stop=self._stop, progress=acknowledged
            )
