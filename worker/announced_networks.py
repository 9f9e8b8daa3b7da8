"""The networks of the announced versions, as far as the models topic has them."""

import contextlib
from collections.abc import Mapping

from modelregistry.models_state import parse_announcement, version_key
from schemas.errors import BundleError


class AnnouncedNetworks:
    """Which announced versions have one network: they use the same session memories, and their figures are counted
    together.

    Args:
        name: of the model.

    Attributes:
        network_versions: announced version → the version that its network was trained as. It changes while models are
            in use.
    """

    def __init__(self, name: str) -> None:
        self.network_versions: dict[str, str] = {}
        self._announced_at: dict[str, float] = {}  # version → seconds since 1970 UTC
        self._prefix = version_key(name, "")

    def note(self, messages: Mapping[bytes, bytes | None]) -> None:
        """Take in the last message of each key; a version without a value is forgotten."""
        for key, value in messages.items():
            if not key.startswith(self._prefix):
                continue
            version = key.removeprefix(self._prefix).decode(errors="replace")
            if value is None:
                self.network_versions.pop(version, None)
                self._announced_at.pop(version, None)
                continue
            with contextlib.suppress(BundleError):
                announcement = parse_announcement(value)
                self.network_versions[version] = announcement.network_version
                self._announced_at[version] = announcement.announced_at.timestamp()

    def announced_at(self, network_version: str) -> float | None:
        """When a model with a network was first announced, seconds since 1970 UTC; None: the topic does not have it."""
        versions = (version for version, its in self.network_versions.items() if its == network_version)
        return min((self._announced_at[version] for version in versions), default=None)
