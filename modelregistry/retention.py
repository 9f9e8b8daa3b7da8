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

    These stay: the serving version, its shadow, the `former` versions announced before it, and versions younger than
    `YOUNG`. Directories with foreign files stay too.

    Args:
        state: of the models topic.
        store: with the versions.
        former: number of versions before the serving one that are kept for a rollback (NEXTCLICK_MODELS_KEPT).
        now: the time to measure a version's age at; None: the present.
    """
    newest_first = list(dict.fromkeys(announcement.version for announcement in reversed(state.history)))
    moment = now or datetime.now(UTC)
    found = []
    for version in store.versions():
        place = newest_first.index(version) if version in newest_first else None
        kept = None
        if place == 0:
            kept = "serves"
        elif state.shadow is not None and version == state.shadow.version:
            kept = "is scored as a shadow"
        elif place is not None and place <= former:
            kept = "to roll back to"
        elif foreign := store.foreign_files(version):
            kept = f"holds {foreign[0]!r}, which is no part of a bundle"
        elif moment - store.written_at(version) < YOUNG:
            kept = "younger than a day"
        found.append(Verdict(version, kept))
    return found
