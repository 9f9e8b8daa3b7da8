"""A model whose neighbours are counted anew on newer clicks, while its network and its settings stay."""

import importlib.metadata
from dataclasses import replace

from clicklog.clicks import Clicks
from clicklog.filters import filter_clicks
from clicklog.items import ItemIndex
from clicklog.sessions import sessions_of
from rankers.bundle import Bundle, new_version
from rankers.families import refreshable_family_of
from trainer.config import TrainConfig
from trainer.memory import allocating
from trainer.trained import span_of


def recount(bundle: Bundle, clicks: Clicks, config: TrainConfig) -> Bundle:
    """A new version of a bundle with the same network and settings, and with neighbours from these clicks.

    The network's items keep their rows; the other items of the clicks follow.

    Args:
        bundle: is not changed.
        clicks: already cut into sessions, with times.
        config: of its `min_support` and `min_length` only, and those only if the bundle does not say its own.

    Raises:
        BundleError: models of this family have no neighbours.
        TrainingError: nothing is left after filtering, or too little memory.
    """
    family = refreshable_family_of(bundle.family)
    kept = filter_clicks(clicks.frame, *(own_filters(bundle) or (config.min_support, config.min_length)))
    own = family.kept_items(bundle.model)
    index = ItemIndex.of(kept) if own is None else ItemIndex.beginning_with(own, kept)
    sessions = sessions_of(kept, index)
    with allocating(
        f"the neighbours of {len(sessions.items):,} clicks do not fit into memory: shorten NEXTCLICK_RETRAIN_WINDOW"
    ):
        model = family.recounted(bundle.model, sessions, index)
    before = bundle.trained_on
    judged_until, network_until = (before.judged_until, before.network_last) if before else (None, None)
    span = span_of(kept, clicks, judged_until, network_until or 0)
    refresh = {"parent": bundle.version, "package": importlib.metadata.version("nextclick")}
    return replace(
        bundle,
        version=new_version(),
        model=model,
        items=index,
        settings={**bundle.settings, "refresh": refresh},
        trained_on=span,
        network_digest="",
        refresh_of=bundle.network_version,
    )


def own_filters(bundle: Bundle) -> tuple[int, int] | None:
    """Fewest clicks of an item and of a session in the bundle's training; None if it does not say."""
    lineage = bundle.settings.get("lineage", {})
    settings = lineage.get("settings", bundle.settings)  # of a retraining; of `nextclick train`
    try:
        return int(settings["min_support"]), int(settings["min_length"])
    except (KeyError, TypeError, ValueError):
        return None
