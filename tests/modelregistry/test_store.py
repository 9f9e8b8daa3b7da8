"""The store of bundles; `test_retention` has the cases that need Kafka."""

from pathlib import Path

import pytest
import s3fs

from modelregistry.store import BundleStore
from modelregistry.stored_bundle import read_stored_bundle
from rankers.bundle import read_bundle
from rankers.bundle_files import read_digest
from schemas.errors import BundleError
from tests.worker.deployment import bundle


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path)
    return f"{place}/models"


def test_a_bundle_comes_back_as_it_was_put(root: str, tmp_path: Path) -> None:
    store = BundleStore(root)
    directory = bundle(tmp_path / "v1", "v1")
    store.put(directory, "v1")
    store.put(directory, "v1")  # again: it is there already
    assert read_stored_bundle(store, store.uri_of("v1"), read_digest(directory)).version == "v1"
    with pytest.raises(BundleError, match="holds another bundle of version v1"):
        store.put(bundle(tmp_path / "other", "v1", seed=1), "v1")
    store.delete("v1")
    assert store.versions() == []
    with pytest.raises(BundleError, match=r"no version 'v1' at .* there is: none"):
        store.check_version("v1")


def test_bundles_come_from_below_the_models_uri_alone(root: str, tmp_path: Path) -> None:
    elsewhere = bundle(tmp_path / "elsewhere" / "v1", "v1")
    store = BundleStore(root)
    for uri in (str(elsewhere), f"{root}/../elsewhere/v1", f"{root}-more/v1", root):
        with pytest.raises(BundleError, match="lies outside NEXTCLICK_MODELS_URI"):
            store.fetch(uri, tmp_path / "fetched")
    with pytest.raises(BundleError, match="cannot fetch from nowhere://v1"):
        store.fetch("nowhere://v1", tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_an_announced_uri_keeps_the_symbolic_links_of_the_models_uri(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "models").symlink_to(tmp_path / "disk")
    store = BundleStore(str(tmp_path / "models"))
    store.put(bundle(tmp_path / "v1", "v1"), "v1")
    assert store.uri_of("v1") == f"file://{tmp_path}/models/v1"
    store.fetch(store.uri_of("v1"), tmp_path / "fetched")
    assert read_bundle(tmp_path / "fetched").version == "v1"


def test_a_version_that_another_process_put_on_s3_is_seen_at_once(s3: str, tmp_path: Path) -> None:
    store = BundleStore(f"{s3}/models")
    store.put(bundle(tmp_path / "v1", "v1"), "v1")
    assert store.versions() == ["v1"]
    other = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)  # as another process has it
    for file in bundle(tmp_path / "v2", "v2").iterdir():
        other.put_file(str(file), f"{s3}/models/v2/{file.name}")
    assert store.versions() == ["v1", "v2"]
