"""A bundle of any family whose config has a wrong value is refused in one line that names it."""

import hashlib
import json
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.blend.model import Blend
from rankers.bundle import Bundle, read_bundle, write_bundle
from rankers.bundle_files import ABOUT, DIGEST
from rankers.contract import CountedFamily, NetworkFamily
from rankers.families import FAMILIES, counted_family_of, network_family_of
from schemas.errors import BundleError

IDS = ["a", "b", "c", "d"]
WRONG: dict[type, list[Any]] = {
    int: [1.5, 2.0, "1", None, True, [1], 0, -1, 10**30],
    float: ["1", None, True, [1.0], float("nan"), float("inf"), 10**400, 0, -1.5],
    str: [7, None, True, ["x"], "x"],
    dict: [5, None, "x", []],
}


def model_of(family: str) -> Any:
    if isinstance(FAMILIES[family], NetworkFamily):
        return network_family_of(family).untrained({"items": len(IDS), "hidden": 4})
    if isinstance(FAMILIES[family], CountedFamily):
        return counted_family_of(family).count({"items": len(IDS)}, Sessions(np.array([0, 1, 2, 3]), np.array([0, 4])))
    return Blend("sasrec", model_of("sasrec"), IDS, "stan", model_of("stan"), 0.3, 1.0)


def written(family: str, directory: Path) -> dict[str, Any]:
    """Write a bundle; returns its bundle.json."""
    write_bundle(Bundle("v1", model_of(family), ItemIndex(IDS, np.ones(4, dtype=np.int64)), family), directory)
    about: dict[str, Any] = json.loads((directory / ABOUT).read_text())
    return about


def refusal(directory: Path, about: dict[str, Any]) -> str:
    """Why a bundle with another bundle.json, whose digest is right, cannot be read."""
    (directory / ABOUT).write_text(json.dumps(about))
    (directory / DIGEST).write_text(hashlib.sha256((directory / ABOUT).read_bytes()).hexdigest())
    with pytest.raises(BundleError) as error:
        read_bundle(directory)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{directory} does not fit together: ")
    return message.removeprefix(f"{directory} does not fit together: ")


def places(config: dict[str, Any], *above: str) -> Iterator[tuple[str, ...]]:
    """The paths to all values of a config."""
    for name, value in config.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from places(value, *above, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_wrong_value_is_named(family: str, tmp_path: Path) -> None:
    about = written(family, tmp_path / "bundle")
    for *above, name in [("config",), *places(about["config"], "config")]:
        holder = reduce(getitem, above, about)
        right = holder[name]
        for wrong in WRONG[type(right)]:
            if (name, wrong) == ("weight", 0):
                continue  # a blend may leave out its neighbours
            holder[name] = wrong
            message = refusal(tmp_path / "bundle", about)
            assert repr(wrong)[:20] in message, (above, name, wrong)
            assert name in message or name == "family", (above, name, wrong)
            assert len(message) < 250
            if above[-1:] == ["config"] and len(above) > 1:  # of a part of a blend
                assert message.startswith(f"its {above[-2]}: ")
        holder[name] = right


@pytest.mark.parametrize("family", FAMILIES)
def test_a_name_that_is_missing_or_unknown_is_named(family: str, tmp_path: Path) -> None:
    about = written(family, tmp_path / "bundle")
    more = refusal(tmp_path / "bundle", about | {"config": about["config"] | {"later": 1}})
    assert more.startswith("in its config, 'later' is none of ")
    assert more.endswith(": upgrade nextclick")
    name = "weight" if family == "blend" else "items"
    del about["config"][name]
    assert refusal(tmp_path / "bundle", about) == f"in its config, {name} is missing"
