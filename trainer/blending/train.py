"""Trains a blend: on the older sessions to choose epochs, weight and temperature, and then on all of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol, cast

import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.blend.model import Blend
from rankers.blend.ranker import BlendRanker
from rankers.bundle import Bundle
from rankers.families import family_of
from rankers.neighbours.family import Neighbours
from trainer.blending.weight import FittedBlend, fit_weight
from trainer.checkpoint import ALL, OLDER
from trainer.config import BLEND, TrainConfig
from trainer.counting import count
from trainer.fit import FitResult
from trainer.trained import Trained
from trainer.validation import Figures
from trainer.warm_start import WarmStart


class TrainNetwork(Protocol):
    """Trains a network on the clicks of the blend."""

    def __call__(self, *, config: TrainConfig, warm: WarmStart | None, part: str) -> Trained:
        """Train it; `part` names its checkpoint."""


def train_blend(
    config: TrainConfig,
    train_network: TrainNetwork,
    newest: Callable[[], Sessions],
    warm: WarmStart | None,
    device: torch.device,
    say: Callable[[str], None],
) -> Trained:
    """Train a blend.

    The network is trained on the older sessions, and the newest choose its epoch; with the neighbours of the older
    sessions they also choose the weight and the temperature. Then the network is trained on all sessions for as many
    epochs, and the neighbours of all are counted. A warm start trains the parent's network further and keeps weight
    and temperature.

    Args:
        config: of the blend.
        train_network: trains the network.
        newest: the sessions of the validation part, as rows of the items of the older ones.
        warm: a blend to train further.
        device: the network ranks the newest sessions on it.
        say: called with a line for people.

    Raises:
        SettingsError: there is no validation part.
        TrainingError: as in the training of its parts.
    """
    network, neighbours = config.parts
    if warm is not None:
        parent: Blend = warm.parent.model
        trained = train_network(
            config=replace(network, validate=0.0), warm=replace(warm, parent=network_bundle(warm.parent)), part=ALL
        )
        return _blend(trained, neighbours, parent.weight, parent.temperature, say)
    config.check_validation()
    say(f"1 of 2: {network.family} and {neighbours.family} of the older {1 - config.validate:.0%} of the sessions")
    first = _fit_to_older(config, train_network, newest, device, say)
    fitted = first.fitted
    say(f"2 of 2: {network.family} with {first.epochs} epochs and {neighbours.family}, of all sessions")
    again = replace(network, validate=0.0, fit=replace(network.fit, epochs=first.epochs))
    blend = _blend(train_network(config=again, warm=None, part=ALL), neighbours, fitted.weight, fitted.temperature, say)
    seconds, events = first.seconds + blend.fit.seconds, first.events + blend.fit.events
    return replace(blend, fit=replace(blend.fit, events=events, seconds=seconds))


class _Choice(NamedTuple):
    """The result of the first fit. It has no network: that one's memory is free before the second fit."""

    fitted: FittedBlend
    epochs: int
    events: int
    seconds: float


def _fit_to_older(
    config: TrainConfig,
    train_network: TrainNetwork,
    newest: Callable[[], Sessions],
    device: torch.device,
    say: Callable[[str], None],
) -> _Choice:
    """Train on the older sessions, and choose epochs, weight and temperature on the newest."""
    network, neighbours = config.parts
    older = train_network(config=network, warm=None, part=OLDER)
    counted, counting = count(neighbours, older.sessions, len(older.bundle.items), say)
    fitted = fitted_on(newest(), older.bundle, counted, older.bundle.items, config.neighbours, device)
    say(told(fitted, network.family, neighbours.family))
    return _Choice(fitted, older.fit.epoch, older.fit.events, older.fit.seconds + counting.seconds)


def fitted_on(
    newest: Sessions,
    network: Bundle,
    neighbours: Neighbours,
    index: ItemIndex,
    neighbours_family: str,
    device: torch.device,
) -> FittedBlend:
    """Weight and temperature of a blend of these parts; the network's items are the first ones of the index."""
    any_blend = Blend(network.family, network.model, network.items.ids, neighbours_family, neighbours, 0.5, 1.0)
    return fit_weight(cast(BlendRanker, family_of(BLEND).ranker(any_blend, index, device, "exact")), newest)


def network_bundle(bundle: Bundle) -> Bundle:
    """The network of a blend as a bundle of its own, with the blend's version."""
    blend: Blend = bundle.model
    rows = len(blend.network_items)
    items = ItemIndex(blend.network_items, bundle.items.support[:rows])
    return replace(bundle, model=blend.network, items=items, family=blend.network_family)


def _blend(
    trained: Trained,
    neighbours: TrainConfig,
    weight: float,
    temperature: float,
    say: Callable[[str], None],
) -> Trained:
    """The blend of a trained network and the neighbours of its sessions."""
    network = trained.bundle
    counted, counting = count(neighbours, trained.sessions, len(network.items), say)
    model = Blend(network.family, network.model, network.items.ids, neighbours.family, counted, weight, temperature)
    fit: FitResult = replace(trained.fit, seconds=trained.fit.seconds + counting.seconds)
    return replace(trained, bundle=replace(network, model=model, family=BLEND), fit=fit)


def told(fitted: FittedBlend, network: str, neighbours: str) -> str:
    """The choice as a line for people."""

    def figures(values: Figures) -> str:
        return f"{values[0]:.4f}/{values[1]:.4f}"

    end = ""
    if fitted.weight in (0, 1):
        best = neighbours if fitted.weight else network
        end = f"; {best} alone is the best blend, and serves faster: train --family {best}"
    return (
        f"weight {fitted.weight:g} of the neighbours and temperature {fitted.temperature:g}: Recall@20/MRR@20 "
        f"{figures(fitted.blend)} on the newest sessions, {network} alone {figures(fitted.network)}, {neighbours} "
        f"alone {figures(fitted.neighbours)}{end}"
    )
