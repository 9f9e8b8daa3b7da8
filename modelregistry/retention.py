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

    These stay: the serving version and the one before it with the same network, its shadow, the newest version of the
    `former` networks announced before it and of as many that a rollback can go to, and versions younger than `YOUNG`.
    Of a network, versions with a newer refresh do not stay, however young. Directories with foreign files stay too, and
    a version with the network's files of another one that is there.

    Args:
        state: of the models topic.
        store: with the versions.
        former: number of networks before the serving one that are kept for a rollback (NEXTCLICK_MODELS_KEPT).
        now: the time to measure a version's age at; None: the present.
    """
    serving, withdrawn = state.serving.version if state.serving else None, state.withdrawn
    own = state.versions_of(state.serving.trained_as) if state.serving else []
    refresh_before = [version for version in own if version != serving and version not in withdrawn][:1]
    newest = _newest_by_network(state, set())
    before = [version for version in newest if version not in own]
    usable = [version for version in _newest_by_network(state, withdrawn) if version not in own][:former]
    refreshed = {announcement.version for announcement in state.history} - set(newest)
    needed = {network: version for version, network in store.networks().items()}
    moment = now or datetime.now(UTC)
    found = []
    for version in store.versions():
        kept = None
        if version == serving:
            kept = "serves"
        elif state.shadow is not None and version == state.shadow.version:
            kept = "is scored as a shadow"
        elif version in refresh_before:
            kept = "to go back to from the last refresh"
        elif version in usable:
            kept = "to roll back to"
        elif version in before[:former]:
            kept = "was rolled back from"
        elif version in needed:
            kept = f"holds the network of {needed[version]}"
        elif foreign := store.foreign_files(version):
            kept = f"holds {foreign[0]!r}, which is no part of a bundle"
        elif version not in refreshed and moment - store.written_at(version) < YOUNG:
            kept = "younger than a day"
        found.append(Verdict(version, kept))
    return found


def _newest_by_network(state: ModelsState, without: set[str]) -> list[str]:
    """The newest announced version of each network, the last announced first; versions in `without` do not count."""
    newest: dict[str, str] = {}
    for announcement in reversed(state.history):
        if announcement.version not in without:
            newest.setdefault(announcement.trained_as, announcement.version)
    return list(newest.values())
