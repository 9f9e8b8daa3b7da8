"""What kind of place a URI of the settings names."""

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az"})
"""URI schemes of fsspec. An object appears whole or not at all, and there are no directories."""


def is_object_store(uri: str) -> bool:
    """Whether a URI names a place on an object store; anything else is a file system."""
    return uri.partition("://")[0] in OBJECT_STORES


def filesystem_options(uri: str) -> dict[str, bool]:
    """What fsspec must be told: it caches listings of object stores, and would miss what other processes wrote."""
    return {"use_listings_cache": False} if is_object_store(uri) else {}
