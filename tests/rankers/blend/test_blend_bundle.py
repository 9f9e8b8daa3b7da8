"""What a blend's bundle holds, what is refused when it is loaded, and neighbours that are counted anew."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.blend.family import NETWORK_ITEMS
from rankers.blend.model import Blend
from rankers.bundle import Bundle, read_bundle, write_bundle
from rankers.bundle_files import ABOUT, ITEMS, network_digest
from rankers.contract import Clicks, Memory, NetworkFamily, RefreshableFamily
from rankers.families import FAMILIES, counted_family_of, family_of, network_family_of
from schemas.errors import BundleError

SESSIONS = Sessions(np.array([0, 1, 2, 2, 1, 0, 3, 0]), np.array([0, 3, 6, 8]))
FAMILY = family_of("blend")


def made(weight: float = 0.25, temperature: float = 1.0) -> Blend:
    """A network of the items a, b, c, and neighbours that know d too."""
    torch.manual_seed(0)
    network = network_family_of("gru4rec").untrained({"items": 3, "hidden": 4}).requires_grad_(False).eval()
    neighbours = counted_family_of("stan").count({"items": 4}, SESSIONS)
    return Blend("gru4rec", network, ["a", "b", "c"], "stan", neighbours, weight, temperature)


def written(directory: Path, model: Blend, ids: str) -> dict[str, Any]:
    index = ItemIndex(list(ids), np.ones(len(ids), dtype=np.int64))
    write_bundle(Bundle("v1", model, index, "blend"), directory)
    about: dict[str, Any] = json.loads((directory / ABOUT).read_bytes())
    return about


def test_a_bundle_has_the_files_of_both_parts_and_the_digest_of_the_network_alone(tmp_path: Path) -> None:
    about = written(tmp_path / "b", made(), "abcd")
    assert set(about["files"]) == {"weights.safetensors", "sessions.safetensors", NETWORK_ITEMS, ITEMS}
    assert about["network_files"] == ["weights.safetensors", NETWORK_ITEMS]
    again = read_bundle(tmp_path / "b")
    assert (again.model.network_items, again.model.weight, again.model.temperature) == (["a", "b", "c"], 0.25, 1.0)
    assert again.needs.history == again.model.neighbours.config.window


def test_neighbours_counted_anew_keep_the_network_its_rows_and_the_digest(tmp_path: Path) -> None:
    assert isinstance(FAMILY, RefreshableFamily)
    model, ids = made(), "abcxyz"
    assert FAMILY.kept_items(model) == ["a", "b", "c"]
    index = ItemIndex(list(ids), np.array([0, 1, 1, 2, 2, 2]))
    sessions = Sessions(np.array([3, 4, 5, 4, 1, 2]), np.array([0, 2, 4, 6]))
    counted = FAMILY.recounted(model, sessions, index)
    assert (counted.weight, counted.temperature, counted.network) == (model.weight, model.temperature, model.network)
    before, after = written(tmp_path / "before", model, "abcd"), written(tmp_path / "after", counted, ids)
    assert network_digest(after) == network_digest(before)
    ranker = FAMILY.ranker(read_bundle(tmp_path / "after").model, index, torch.device("cpu"), "exact")
    one = np.zeros(1, dtype=np.int64)
    clicks = Clicks(np.array([3]), one, one, one.astype(bool))
    top = ranker.best(ranker.advance(clicks, Memory.empty(1, ranker.needs)).queries, 3)
    assert [ids[row] for row in top.rows[0]] == ["x", "y", "a"], "new items are recommended"
    other = written(tmp_path / "other", made(weight=0.5), "abcd")
    assert network_digest(other) != network_digest(before), "another weight is another model"


@pytest.mark.parametrize("name", [family.name for family in FAMILIES.values() if isinstance(family, NetworkFamily)])
def test_the_files_that_a_memory_depends_on_are_those_of_the_network_of_any_family(name: str) -> None:
    network = network_family_of(name).untrained({"items": 3, "hidden": 4})
    files = network_family_of(name).save(network)
    assert set(FAMILY.network_files(replace(made(), network_family=name, network=network)) or ()) == {
        *files,
        NETWORK_ITEMS,
    }


def changed(path: tuple[str, ...], value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for name in path[:-1]:
            config = config[name]
        config[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(("weight",), 1.5), "weight 1.5: it must be a number from 0 to 1"),
        (changed(("weight",), -0.1), "weight -0.1: it must be a number from 0 to 1"),
        (changed(("weight",), float("nan")), "in its config, weight is nan: it must be a finite number"),
        (changed(("weight",), "01"), "in its config, weight is '01': it must be a finite number"),
        (changed(("weight",), True), "in its config, weight is True: it must be a finite number"),
        (changed(("weight",), 10**400), "in its config, weight is 1000.*: it must be a finite number"),
        (changed(("temperature",), 0), "temperature 0: it must be a number from 0.01 to 100"),
        (changed(("temperature",), 1e-300), "temperature 1e-300: it must be a number from 0.01 to 100"),
        (changed(("temperature",), "1"), "in its config, temperature is '1': it must be a finite number"),
        (changed(("temperature",), float("inf")), "in its config, temperature is inf: it must be a finite number"),
        (changed(("temperature",), float("nan")), "in its config, temperature is nan: it must be a finite number"),
        (
            changed(("network", "config", "hidden"), 10**9),
            "a network of this shape cannot be built: ",
        ),
        (changed(("network", "family"), "stan"), "'stan', which is none of the networks gru4rec, narm, stamp, sasrec"),
        (changed(("neighbours", "family"), "knn"), "'knn', which is none of the neighbourhood methods vs-knn, stan"),
        (changed(("network", "config", "items"), 4), "a network of 4 items with 3 different ids"),
        (changed(("neighbours", "config", "items"), 3), "a model of 3 items with 4 different ids"),
    ],
)
def test_settings_that_make_no_blend_are_refused(change: Callable[[dict[str, Any]], None], message: str) -> None:
    config = FAMILY.config(made())
    change(config)
    files = FAMILY.save(made()) | {ITEMS: json.dumps({"items": list("abcd")}).encode()}
    with pytest.raises(BundleError, match=message):
        FAMILY.load(config, files, 4)


@pytest.mark.parametrize("ids", ["bacd", "abdc", "xyza"])
def test_a_network_whose_items_are_not_the_first_ones_is_refused(ids: str) -> None:
    files = FAMILY.save(made()) | {ITEMS: json.dumps({"items": list(ids)}).encode()}
    with pytest.raises(BundleError, match=r"the items of network-items.json are not the first ones of items.json"):
        FAMILY.load(FAMILY.config(made()), files, 4)


def test_an_index_of_other_items_and_fewer_items_than_the_network_has_are_refused() -> None:
    files = FAMILY.save(made()) | {ITEMS: json.dumps({"items": list("abcde")}).encode()}
    config = FAMILY.config(made())
    config["neighbours"]["config"]["items"] = 5
    with pytest.raises(BundleError, match="an index of 4 items with 5 different ids"):
        FAMILY.load(config, files, 5)
    few = counted_family_of("stan").count({"items": 2}, Sessions(np.array([0, 1]), np.array([0, 2])))
    with pytest.raises(BundleError, match=r"a blend of 2 items with a network of 3: the network's must be among them"):
        Blend("gru4rec", made().network, ["a", "b", "c"], "stan", few, 0.5, 1.0)
