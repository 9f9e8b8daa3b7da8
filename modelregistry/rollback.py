"""Rolling back: announce a version that served before, and never one that was rolled back from."""

from datetime import datetime

from modelregistry.change import Author
from modelregistry.models_state import ModelsState
from modelregistry.models_topic import ModelsTopic
from modelregistry.publishing import checked_announcement
from schemas.announcement import ModelAnnouncement
from schemas.errors import BundleError
from schemas.settings import Settings


async def rollback(
    topic: ModelsTopic, settings: Settings, to: str | None = None, author: Author | None = None
) -> ModelAnnouncement:
    """Announce the version that served before, and record why.

    The version that serves now is withdrawn: no later rollback returns to it, unless it is announced again.

    Args:
        topic: entered.
        settings: the models URI and the model name.
        to: the version to announce; None: of the last network that served before the present one, the newest version
            that was not withdrawn.
        author: who rolls back, and why; None: this user.

    Raises:
        BundleError: there is no such version, it is no longer at the models URI, or another process has announced a
            version meanwhile.
        BrokerError: the models topic cannot be read or written.
    """
    state = await topic.read()
    serving = state.serving
    if serving is None:
        raise BundleError(f"nothing to roll back from: {missing_announcement(state)}")
    version = to or _version_before(serving, state)
    if version == serving.version:
        raise BundleError(f"--to {version} is the version that serves: name another one")
    announcement = await checked_announcement(version, settings)
    now = (await topic.read()).serving
    if now != serving:
        raise BundleError(
            f"{now.version if now else 'nothing'} was announced meanwhile in place of {serving.version}: look at "
            "`nextclick models`, then roll back again if it is still needed"
        )
    decision = (author or Author()).decision(
        settings.model_name,
        "rolled-back",
        serving.version,
        version,
        f"{version} serves again",
        trained_on=serving.trained_on,
        withdrawn=_announced_after(version, state),
    )
    await topic.announce(announcement, decision)
    return announcement


def missing_announcement(state: ModelsState) -> str:
    """Why no version serves, and what to do, in one line."""
    if not state.history:
        return f"no model {state.name!r} was announced yet"
    return (
        f"the announcement of the serving version of model {state.name!r} was deleted from the models topic: announce "
        f"one by `nextclick models promote`; the last version that is known there is {state.history[-1].version}"
    )


def _version_before(serving: ModelAnnouncement, state: ModelsState) -> str:
    earlier = [one.version for one in state.history if one.network_version != serving.network_version]
    if not earlier:
        refreshes = len(state.versions_of(serving.network_version)) > 1
        only = "the network of all versions" if refreshes else "the only version"
        name = "; name one by --to" if refreshes else ""
        raise BundleError(f"nothing to roll back to: {serving.network_version} is {only} announced so far{name}")
    withdrawn = state.withdrawn
    usable = [version for version in earlier if version not in withdrawn]
    if not usable:
        raise BundleError(
            f"nothing to roll back to: {', '.join(dict.fromkeys(earlier))} served before {serving.version} and was "
            "rolled back from; name a version by --to"
        )
    return usable[-1]


def _announced_after(version: str, state: ModelsState) -> dict[str, datetime]:
    """The versions that were announced after the newest announcement of a version, and when.

    If that version was never announced, it is the serving version only.
    """
    places = [place for place, announcement in enumerate(state.history) if announcement.version == version]
    later = state.history[places[-1] if places else -1 :]
    return {one.version: one.announced_at for one in later if one.version != version}
