"""A bundle whose files were changed after it was written is refused, in both formats, by its own digest."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rankers.bundle import read_bundle
from rankers.bundle_files import ABOUT, DIGEST, ITEMS, read_digest
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
