"""Deciding by live evidence again and again, for `nextclick watch` and between the runs of a schedule."""

from collections.abc import Callable

from schemas.decision import Decision
from schemas.errors import one_line
from schemas.settings import Settings
from trainer.retraining.shadow_trial import decide

LOOK_SECONDS = 60.0
"""Time between two checks of the live evidence."""


def looking(
    settings: Settings, decided: Callable[[Decision], None], failed: Callable[[str], None]
) -> Callable[[], None]:
    """A function that checks the live evidence once. It never raises, because the next check may succeed.

    Args:
        settings: the broker, the model name and the NEXTCLICK_LIVE_… settings.
        decided: called with each decision.
        failed: called with a line for people.
    """

    def look() -> None:
        try:
            decision = decide(settings)
        except Exception as error:  # stores have their own exceptions
            failed(f"live evidence was not decided by: {one_line(error)}")
        else:
            if decision is not None:
                decided(decision)

    return look


def decided_line(decision: Decision) -> str:
    """A decision in one line for people."""
    return f"{decision.outcome}: {decision.reason}"
