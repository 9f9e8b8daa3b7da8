"""Which versions at the models URI may be deleted, and why the others stay."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from modelregistry.models_state import ModelsState
from modelregistry.store import BundleStore
from schemas.announcement import ModelAnnouncement

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
    a version whose network another one has that stays or that is there.

    Args:
        state: of the models topic.
        store: with the versions.
        former: number of networks before the serving one that are kept for a rollback (NEXTCLICK_MODELS_KEPT).
        now: the time to measure a version's age at; None: the present.
    """
    used = _used(state, former)
    network_versions = store.network_versions()
    needed = {network_version: version for version, network_version in network_versions.items()}
    needed |= {one.network_version: one.version for one in _announced(state) if one.version in used}
    newest = state.newest_by_network_version()
    moment = now or datetime.now(UTC)

    def young(version: str) -> bool:
        written = store.written_at(version)
        refreshed = newest.get(network_versions.get(version, version))
        superseded = refreshed is not None and refreshed.version != version and refreshed.announced_at > written
        return moment - written < YOUNG and not superseded

    found = []
    for version in store.versions():
        kept = used.get(version)
        if kept is None and version in needed:
            kept = f"holds the network of {needed[version]}"
        if kept is None and (foreign := store.foreign_files(version)):
            kept = f"holds {foreign[0]!r}, which is no part of a bundle"
        if kept is None and young(version):
            kept = "younger than a day"
        found.append(Verdict(version, kept))
    return found


def _used(state: ModelsState, former: int) -> dict[str, str]:
    """Version → why it stays, of all that stay whatever the store says."""
    own = state.versions_of(state.serving.network_version) if state.serving else []
    newest, not_withdrawn = state.newest_by_network_version(), state.newest_by_network_version(state.withdrawn)
    before = [one.version for one in newest.values() if one.version not in own]
    usable = [one.version for one in not_withdrawn.values() if one.version not in own]
    used = dict.fromkeys(before[:former], "was rolled back from")
    used |= dict.fromkeys(usable[:former], "to roll back to")
    if (refreshed := state.version_before_refresh()) is not None:
        used[refreshed] = "to go back to from the last refresh"
    if state.shadow is not None:
        used[state.shadow.version] = "is scored as a shadow"
    if state.serving is not None:
        used[state.serving.version] = "serves"
    return used


def _announced(state: ModelsState) -> list[ModelAnnouncement]:
    return [*state.history, *(one for one in (state.serving, state.shadow) if one is not None)]
