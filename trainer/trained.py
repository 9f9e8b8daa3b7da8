"""The result of a training."""

from dataclasses import dataclass

from clicklog.sessions import Sessions
from rankers.bundle import Bundle
from trainer.fit import FitResult


@dataclass(frozen=True)
class Trained:
    """Result of a training.

    Attributes:
        bundle: the trained bundle, with its model on the CPU.
        fit: the result of the fit.
        sessions: all sessions that the filters left, without those of the validation part, as rows of the bundle's
            items; a warm start trains on some of them only.
    """

    bundle: Bundle
    fit: FitResult
    sessions: Sessions
