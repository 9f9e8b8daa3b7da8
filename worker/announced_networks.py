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
        trained_as: announced version → the version that its network was trained as. It changes while models are in use.
    """

    def __init__(self, name: str) -> None:
        self.trained_as: dict[str, str] = {}
        self._announced_at: dict[str, float] = {}  # version → seconds since 1970 UTC
        self._prefix = version_key(name, "")

    def note(self, messages: Mapping[bytes, bytes | None]) -> None:
        """Take in the last message of each key; a version without a value is forgotten."""
        for key, value in messages.items():
            if not key.startswith(self._prefix):
                continue
            version = key.removeprefix(self._prefix).decode(errors="replace")
            if value is None:
                self.trained_as.pop(version, None)
                self._announced_at.pop(version, None)
                continue
            with contextlib.suppress(BundleError):
                announcement = parse_announcement(value)
                self.trained_as[version] = announcement.trained_as
                self._announced_at[version] = announcement.announced_at.timestamp()

    def announced_at(self, network: str) -> float | None:
        """When a model with a network was first announced, seconds since 1970 UTC; None: the topic does not have it."""
        times = (self._announced_at[version] for version, its in self.trained_as.items() if its == network)
        return min(times, default=None)
