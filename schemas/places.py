"""Whether a URI in the settings is on an object store or on a file system."""

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az"})
"""URI schemes of fsspec. On an object store a write is atomic, and there are no directories."""


def is_object_store(uri: str) -> bool:
    """Whether a URI is on an object store; every other URI is on a file system."""
    return uri.partition("://")[0] in OBJECT_STORES


def filesystem_options(uri: str) -> dict[str, bool]:
    """Options for fsspec. Its cache of object-store listings is off: it would hide files that other processes wrote."""
    return {"use_listings_cache": False} if is_object_store(uri) else {}
