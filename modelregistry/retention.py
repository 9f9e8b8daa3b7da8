"""Which versions at the models URI may be deleted, and why the others stay."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from modelregistry.models_state import ModelsState
from modelregistry.store import BundleStore

YOUNG = timedelta(days=1)
"""A younger version may be announced soon."""


@dataclass(frozen=True)
class Verdict:
    """Whether a version stays.

    Attributes:
        version: at the models URI.
        kept: why it stays; None if it may be deleted.
    """

    version: str
    kept: str | None


def verdicts(state: ModelsState, store: BundleStore, former: int, now: datetime | None = None) -> list[Verdict]:
    """Which versions stay, and why.

    These stay: the serving version, its shadow, the `former` versions announced before it, as many that a rollback can
    go to, and versions younger than `YOUNG`. Directories with foreign files stay too.

    Args:
        state: of the models topic.
        store: with the versions.
        former: number of versions before the serving one that are kept for a rollback (NEXTCLICK_MODELS_KEPT).
        now: the time to measure a version's age at; None: the present.
    """
    serving, withdrawn = state.serving.version if state.serving else None, state.withdrawn
    before = [version for version in _newest_first(state) if version != serving]
    usable = [version for version in before if version not in withdrawn][:former]
    moment = now or datetime.now(UTC)
    found = []
    for version in store.versions():
        kept = None
        if version == serving:
            kept = "serves"
        elif state.shadow is not None and version == state.shadow.version:
            kept = "is scored as a shadow"
        elif version in usable:
            kept = "to roll back to"
        elif version in before[:former]:
            kept = "was rolled back from"
        elif foreign := store.foreign_files(version):
            kept = f"holds {foreign[0]!r}, which is no part of a bundle"
        elif moment - store.written_at(version) < YOUNG:
            kept = "younger than a day"
        found.append(Verdict(version, kept))
    return found


def _newest_first(state: ModelsState) -> list[str]:
    """The announced versions by their last announcement."""
    return list(dict.fromkeys(announcement.version for announcement in reversed(state.history)))
