"""Blends as a family of models: bundle files, loading, and neighbours counted anew."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.blend.model import Blend
from rankers.blend.ranker import BlendRanker, NetworkRanker
from rankers.bundle_config import checked_config
from rankers.bundle_files import ITEMS
from rankers.contract import CountedFamily, Family, Needs, NetworkFamily
from rankers.network_files import WEIGHTS
from schemas.click import ItemId
from schemas.errors import BundleError

NETWORK_ITEMS = "network-items.json"


@dataclass(frozen=True)
class PartConfig:
    """A part of a blend: its family, and the config of its model."""

    family: str
    config: dict[str, Any]


@dataclass(frozen=True)
class BlendConfig:
    """The config of a blend; the attributes are those of `Blend`, which checks their ranges."""

    network: PartConfig
    neighbours: PartConfig
    weight: float
    temperature: float


class BlendFamily:
    """See `rankers.contract.RefreshableFamily`. A model is a `Blend`.

    Args:
        networks: the families that its network can be of.
        neighbours: those that its neighbours can be of.
    """

    name = "blend"
    options = ()

    def __init__(self, networks: Sequence[NetworkFamily], neighbours: Sequence[CountedFamily]) -> None:
        self._networks: dict[str, Family] = {family.name: family for family in networks}
        self._neighbours: dict[str, CountedFamily] = {family.name: family for family in neighbours}

    def needs(self, model: Blend) -> Needs:
        """The network's memory, and the longer of both histories."""
        network = self._networks[model.network_family].needs(model.network)
        return Needs(max(network.history, model.neighbours.config.window), network.memory)

    def config(self, model: Blend) -> dict[str, Any]:
        """Family and config of both parts, the weight and the temperature."""
        network, neighbours = self._networks[model.network_family], self._neighbours[model.neighbours_family]
        parts = (
            PartConfig(network.name, network.config(model.network)),
            PartConfig(neighbours.name, neighbours.config(model.neighbours)),
        )
        return asdict(BlendConfig(*parts, model.weight, model.temperature))

    def save(self, model: Blend) -> dict[str, bytes]:
        """The files of both parts, and the network's items in the order of its rows."""
        items = json.dumps({"items": list(model.network_items)}, separators=(",", ":")).encode()
        network = self._networks[model.network_family].save(model.network)
        return {**network, NETWORK_ITEMS: items, **self._neighbours[model.neighbours_family].save(model.neighbours)}

    def network_files(self, model: Blend) -> tuple[str, ...]:  # noqa: ARG002
        """The network's, and its items."""
        return WEIGHTS, NETWORK_ITEMS

    def load(self, config: Mapping[str, Any], files: Mapping[str, bytes], items: int) -> Blend:
        """The model; both parts are checked as in bundles of their own."""
        blend = checked_config(BlendConfig, config)
        network, neighbours = blend.network, blend.neighbours
        network_family = _part(network.family, self._networks, "networks")
        neighbours_family = _part(neighbours.family, self._neighbours, "neighbourhood methods")
        network_items = json.loads(files[NETWORK_ITEMS])["items"]
        if json.loads(files[ITEMS])["items"][: len(network_items)] != network_items:
            raise BundleError(f"the items of {NETWORK_ITEMS} are not the first ones of {ITEMS}, in the same order")
        with _says_of("network"):
            network_model = network_family.load(network.config, files, len(network_items))
        with _says_of("neighbours"):
            counted = neighbours_family.load(neighbours.config, files, items)
        return Blend(
            network_family.name,
            network_model,
            network_items,
            neighbours_family.name,
            counted,
            blend.weight,
            blend.temperature,
        )

    def ranker(self, model: Blend, items: ItemIndex, device: torch.device, scoring: str) -> BlendRanker:
        """See `BlendRanker`: the network on the device, the neighbours on the CPU."""
        rows = len(model.network_items)
        network_items = ItemIndex(items.ids[:rows], items.support[:rows])
        network = self._networks[model.network_family].ranker(model.network, network_items, device, scoring)
        return BlendRanker(model, cast(NetworkRanker, network), items)

    def kept_items(self, model: Blend) -> Sequence[ItemId]:
        """The network's."""
        return model.network_items

    def recounted(self, model: Blend, sessions: Sessions, items: ItemIndex) -> Blend:
        """The same network, weight and temperature with neighbours of these sessions."""
        family = self._neighbours[model.neighbours_family]
        settings = family.config(model.neighbours) | {"items": len(items)}
        return replace(model, neighbours=family.count(settings, sessions))


@contextmanager
def _says_of(part: str) -> Iterator[None]:
    try:
        yield
    except BundleError as error:
        raise BundleError(f"its {part}: {error}") from error


def _part(name: str, known: Mapping[str, Any], kind: str) -> Any:
    if name not in known:
        raise BundleError(f"a blend of {name!r}, which is none of the {kind} {', '.join(known)}")
    return known[name]
