"""A bundle of the store with its model. The store itself handles files only."""

from modelregistry.store import BundleStore
from rankers.bundle import Bundle, read_bundle


def read_stored_bundle(store: BundleStore, uri: str, sha256: str | None = None) -> Bundle:
    """Fetch a bundle, check it and load its model, without keeping a copy.

    Args:
        store: at the models URI.
        uri: of the bundle, below the models URI.
        sha256: the announced digest; None accepts the digest stated in the bundle.

    Raises:
        BundleError: it cannot be fetched, or is damaged.
    """
    with store.fetched(uri) as directory:
        return read_bundle(directory, sha256)
