"""The second day's clicks as they flow: at a rate, as far as they may, then at a trickle, until stopped."""

import asyncio

import polars as pl

from clicklog.topic_writer import send_clicks
from schemas.settings import Settings

TRICKLE_SECONDS = 0.5
TRICKLE = 10
"""Clicks in that time beyond what is allowed: enough to see that a model serves, and for minutes of waiting."""


class ClickFlow:
    """Sends clicks at a rate; some are held back for what comes later.

    Attributes:
        sent: clicks that Kafka has acknowledged.
        allowed: after so many clicks the flow is a trickle; raise it to let it go on.
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
