"""A bundle whose files were changed is refused by its own digest, in both formats; what its network's digest is of."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.bundle import Bundle, read_bundle, write_bundle
from rankers.bundle_files import ABOUT, DIGEST, ITEMS, network_digest, read_digest
from rankers.families import counted_family_of
from schemas.errors import BundleError
from tests.worker.deployment import bundle

FORMAT_1 = Path(__file__).parents[1] / "written_by_0_1" / "champion"


@pytest.fixture(params=["format-2", "format-1"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "format-2":
        return bundle(tmp_path / "v1")
    return Path(shutil.copytree(FORMAT_1, tmp_path / "v1"))


def change_metrics(directory: Path) -> None:
    about = json.loads((directory / ABOUT).read_bytes())
    about["metrics"] = {**about["metrics"], "recall@20": 0.99}
    (directory / ABOUT).write_text(json.dumps(about))


def change_version(directory: Path) -> None:
    about = json.loads((directory / ABOUT).read_bytes())
    (directory / ABOUT).write_text(json.dumps(about | {"version": "another"}))


def swap_items(directory: Path) -> None:
    listed = json.loads((directory / ITEMS).read_bytes())
    listed["items"][0], listed["items"][1] = listed["items"][1], listed["items"][0]
    (directory / ITEMS).write_text(json.dumps(listed))


def flip_a_bit(directory: Path) -> None:
    content = bytearray((directory / "weights.safetensors").read_bytes())
    content[-5] ^= 1
    (directory / "weights.safetensors").write_bytes(content)


def change_the_digest(directory: Path) -> None:
    (directory / DIGEST).write_text(hashlib.sha256(b"another").hexdigest())


@pytest.mark.parametrize("change", [change_metrics, change_version, swap_items, flip_a_bit, change_the_digest])
def test_a_changed_bundle_is_refused_by_its_own_digest(directory: Path, change: Callable[[Path], None]) -> None:
    read_bundle(directory)
    change(directory)
    with pytest.raises(BundleError, match=r"is damaged: .* sha256 "):
        read_bundle(directory)


def test_a_whole_bundle_that_is_not_the_announced_one_is_refused(directory: Path) -> None:
    own, other = read_digest(directory), hashlib.sha256(b"another").hexdigest()
    assert read_bundle(directory, own).version
    with pytest.raises(BundleError, match=rf"is not the announced bundle: sha256 {own[:12]}…, announced {other[:12]}…"):
        read_bundle(directory, other)


def test_a_changed_bundle_is_refused_even_if_its_digest_is_the_announced_one(directory: Path) -> None:
    announced = read_digest(directory)
    change_metrics(directory)
    with pytest.raises(BundleError, match="is damaged: its files have the sha256"):
        read_bundle(directory, announced)


def about(directory: Path) -> dict[str, Any]:
    stated: dict[str, Any] = json.loads((directory / ABOUT).read_bytes())
    return stated


def test_the_digest_of_a_network_is_that_of_all_its_files(tmp_path: Path) -> None:
    read = read_bundle(bundle(tmp_path / "v1"))
    assert "network_files" not in about(tmp_path / "v1")
    lines = [
        f"{name} {hashlib.sha256((tmp_path / 'v1' / name).read_bytes()).hexdigest()}\n"
        for name in ("items.json", "weights.safetensors")
    ]
    assert read.network_digest == hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def test_neighbours_counted_on_other_clicks_keep_the_digest_and_other_settings_change_it(tmp_path: Path) -> None:
    def digest(name: str, items: int, clicks: list[int], **settings: int) -> str:
        sessions = Sessions(np.array(clicks), np.array([0, len(clicks)]))
        model = counted_family_of(name).count({"items": items, **settings}, sessions)
        index = ItemIndex([f"i{row}" for row in range(items)], np.ones(items, dtype=np.int64))
        write_bundle(Bundle("v1", model, index, name), tmp_path / "counted")
        read = read_bundle(tmp_path / "counted")
        assert read.network_digest == network_digest(about(tmp_path / "counted"))
        return read.network_digest

    first = digest("stan", 3, [0, 1, 2])
    assert digest("stan", 4, [3, 1, 2, 2]) == first
    assert digest("stan", 3, [0, 1, 2], k=7) != first
    assert digest("vs-knn", 3, [0, 1, 2]) != first


def test_with_network_files_the_digest_follows_these_files_only() -> None:
    stated = {
        "family": "any",
        "config": {"network": {"items": 3, "hidden": 4}},
        "files": {"a": {"sha256": "1"}, "b": {"sha256": "2"}},
        "network_files": ["a"],
    }

    def with_digest(name: str, value: str) -> dict[str, Any]:
        return stated | {"files": stated["files"] | {name: {"sha256": value}}}  # type: ignore[operator]

    digest = network_digest(stated)
    assert network_digest(with_digest("b", "3")) == digest
    assert network_digest(with_digest("a", "3")) != digest
    assert network_digest(stated | {"config": {"network": {"items": 9, "hidden": 4}}}) == digest
    assert network_digest(stated | {"config": {"network": {"items": 3, "hidden": 5}}}) != digest
