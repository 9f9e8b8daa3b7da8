"""The model registry: whether it can be used, and whether it has the model that serves."""

from collections.abc import Collection
from pathlib import Path

from messaging.daemon_thread import in_daemon_thread
from modelregistry.models_topic import models_state
from modelregistry.store import BundleStore
from nextclick.doctor.cluster import Cluster
from nextclick.doctor.finding import Finding, counted, error, ok, warning
from nextclick.doctor.roles import Role
from rankers.bundle_files import read_files
from schemas.announcement import ModelAnnouncement
from schemas.errors import BundleError, one_line
from schemas.settings import Settings

REGISTRY, SERVING = "registry", "model"
USERS = {Role.WORKER, Role.TRAINER}


def registry(settings: Settings, roles: Collection[Role]) -> list[Finding]:
    """Whether the models URI can be read, and by a trainer written. A probe file is written there and deleted."""
    if not USERS & set(roles):
        return []
    store = BundleStore(settings.models_uri)
    try:
        versions = store.versions()
    except Exception as failure:  # every fsspec backend has its own exceptions
        return [
            error(
                REGISTRY,
                f"the registry at NEXTCLICK_MODELS_URI={settings.models_uri} cannot be read: {one_line(failure)}",
                "check the path or URI, its permissions, and the credentials of this process",
            )
        ]
    has = f"{counted(len(versions), 'version')} at {settings.models_uri}"
    if Role.TRAINER not in roles:
        return [ok(REGISTRY, has)]
    made = _local_directory(settings.models_uri)
    new = made is not None and not made.exists()
    try:
        store.check_writable()
    except BundleError as failure:
        return [
            error(
                REGISTRY,
                f"{failure}: nothing can be published or retrained from here",
                "make it writable and free some space (a path: owner, mount options; an object store: the policy of "
                "this process); a worker needs to read only: --role worker",
            )
        ]
    if new and made is not None:
        made.rmdir()
    return [ok(REGISTRY, f"{has}; it can be written")]


async def serving(cluster: Cluster) -> list[Finding]:
    """Whether the bundle of the serving model is at the models URI, with the announced digest."""
    settings = cluster.settings
    if not USERS & set(cluster.roles) or settings.models_topic not in cluster.topics:
        return []
    announcement = (await models_state(settings)).serving
    if announcement is None:
        return [
            warning(
                SERVING,
                f"no model {settings.model_name!r} is announced: workers recommend popular items",
                "train one (`nextclick train --publish`), or announce one (`nextclick models promote`)",
            )
        ]
    return [await in_daemon_thread(lambda: _bundle(announcement, settings), "doctor")]


def _bundle(announcement: ModelAnnouncement, settings: Settings) -> Finding:
    store = BundleStore(settings.models_uri)
    try:
        with store.fetched(announcement.uri) as directory:
            read_files(directory, announcement.sha256)
    except (BundleError, OSError) as failure:
        return error(
            SERVING,
            f"the serving model {announcement.version} cannot be loaded: {one_line(failure)}",
            "put its bundle back at NEXTCLICK_MODELS_URI, or announce another version (`nextclick models promote`, "
            "`nextclick models rollback`)",
        )
    return ok(SERVING, f"{announcement.version} serves; its bundle is there with the announced digest")


def _local_directory(uri: str) -> Path | None:
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Path(uri)
    return Path(rest) if scheme == "file" else None
