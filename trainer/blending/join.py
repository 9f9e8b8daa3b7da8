"""A blend of a network that is trained already: only neighbours are counted, and the weight is fitted."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from clicklog.clicks import Clicks
from clicklog.filters import filter_clicks
from clicklog.items import ItemIndex
from clicklog.sessions import sessions_of
from clicklog.splits import newest_share
from rankers.blend.model import Blend
from rankers.bundle import Bundle, new_version
from rankers.contract import NetworkFamily
from rankers.device import choose_device
from rankers.families import family_of
from schemas.errors import TrainingError
from trainer.blending.train import fitted_on, network_bundle, told
from trainer.config import BLEND, TrainConfig
from trainer.counting import count
from trainer.trained import Trained, span_of


def network_in(bundle: Bundle) -> Bundle:
    """A bundle of a network, or the network of a blend as such a bundle.

    Raises:
        TrainingError: the bundle has no network.
    """
    if bundle.family == BLEND:
        return network_bundle(bundle)
    if not isinstance(family_of(bundle.family), NetworkFamily):
        raise TrainingError(f"--network-from: {bundle.version} is of the family {bundle.family}, and has no network")
    return bundle


def join_network(
    clicks: Clicks,
    config: TrainConfig,
    network: Bundle,
    settings: Mapping[str, Any],
    say: Callable[[str], None],
    device_source: str = "--device",
) -> Trained:
    """Join a network with the neighbours of these clicks, by item id: each may know items that the other lacks.

    With the neighbours of the older sessions, the newest choose the weight and the temperature. Then the neighbours of
    all sessions are counted.

    Args:
        clicks: cut into sessions.
        config: of the blend; of the network it has the family.
        network: not changed.
        settings: stored in the bundle.
        say: called with a line for people.
        device_source: the option or setting that `config.device` comes from, for the error message.

    Raises:
        SettingsError: the validation part has no share of the sessions, or the device does not exist.
        ClicksError, TrainingError: there is no validation part, or the network was trained on clicks of it; or nothing
            is left to count.
    """
    config.check_validation()
    device = choose_device(config.device, device_source)
    older, newer = newest_share(clicks.frame, config.validate)
    _check_unseen(network, newer, config.validate)
    neighbours = config.parts[1]

    def counted(frame: pl.DataFrame) -> tuple[Any, Any, ItemIndex, pl.DataFrame]:
        kept = filter_clicks(frame, config.min_support, config.min_length)
        index = ItemIndex.beginning_with(network.items.ids, kept)
        sessions = sessions_of(kept, index)
        return *count(neighbours, sessions, len(index), say), index, kept

    of_older, _, index, _ = counted(older)
    newest = sessions_of(newer, index)
    if newest.pairs == 0:
        raise TrainingError(
            f"the newest {config.validate} of the sessions have no two clicks on known items: fit on a larger share"
        )
    fitted = fitted_on(newest, network, of_older, index, neighbours.family, device)
    say(told(fitted, network.family, neighbours.family))
    del of_older  # free the memory before the second count
    of_all, result, index, kept = counted(clicks.frame)
    model = Blend(
        network.family,
        network.model,
        network.items.ids,
        neighbours.family,
        of_all,
        fitted.weight,
        fitted.temperature,
    )
    trained_on = network.trained_on
    assert trained_on is not None  # else `_check_unseen` has refused it
    span = span_of(kept, clicks, trained_on.judged_until, trained_on.network_last)
    bundle = Bundle(new_version(), model, index, BLEND, {**settings, "network_from": network.version}, span)
    return Trained(bundle, result, sessions_of(kept, index))


def _check_unseen(network: Bundle, newer: pl.DataFrame, share: float) -> None:
    """Raises:
    TrainingError: the network was trained on clicks of the validation part, or it cannot be said.
    """
    begins: int | None = newer["timestamp"].min()  # type: ignore[assignment]
    seen = network.trained_on.network_seen_until if network.trained_on else None
    if begins is None or seen is None:
        raise TrainingError(
            f"--network-from: without times of {'the clicks' if begins is None else 'its training clicks'} nothing "
            f"says whether {network.version} was trained on the newest {share} of the sessions: train the blend anew"
        )
    if seen >= begins:
        raise TrainingError(
            f"--network-from: {network.version} was trained on clicks up to {_utc(seen)}, and the newest {share} of "
            f"the sessions, which fit its weight, begin at {_utc(begins)}: give later clicks, or a smaller --validate"
        )


def _utc(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
