"""The model bundle: one directory with everything that serving needs, and digests to check that it is complete.

    bundle.json   format version, model version, family, what a session must keep for the model, the family's config,
                  training settings and span, metrics, the name, size and sha256 of every other file, and which of
                  them a session's memory depends on (`network_files`; without the entry: all). `refresh_of` is the
                  version whose network this is, if the neighbours were counted anew: at the models URI, the
                  `network_files` are in the directory of that version
    items.json    {"items": [id, …], "support": [clicks, …]}: row i of the model is items[i]
    …             the family's files, such as weights.safetensors
    SHA256        sha256 of bundle.json, which identifies the bundle

Nothing is unpickled. A bundle is written atomically. Truncated, changed or foreign bundles are refused.
Bundles of format 1, which are always GRU4Rec, can be read too (`rankers.bundle_format_1`).
"""

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError

from clicklog.items import ItemIndex
from rankers.bundle_files import ABOUT, DIGEST, FORMAT, ITEMS, network_digest, not_readable, read_files, refresh_of
from rankers.contract import Needs, Ranker
from rankers.families import DEFAULT_FAMILY, family_of
from schemas.announcement import ClickSpan
from schemas.errors import BundleError


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model with its items.

    Attributes:
        version: name of this model, 1 to 120 of the characters a-z, A-Z, 0-9, '.', '_', '-'.
        model: the trained model on the CPU; its type depends on the family.
        items: the item of each of the model's rows.
        family: name of the model's family.
        settings: the settings of its training.
        trained_on: the part of the click log that it was trained on.
        metrics: from offline evaluation by full ranking.
        network_digest: see `rankers.bundle_files.network_digest`; empty if the bundle was not read from files.
        refresh_of: the version whose network this is, if the neighbours were counted anew; None: its own.
    """

    version: str
    model: Any
    items: ItemIndex
    family: str = DEFAULT_FAMILY
    settings: dict[str, Any] = field(default_factory=dict)
    trained_on: ClickSpan | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    network_digest: str = ""
    refresh_of: str | None = None

    @property
    def network_version(self) -> str:
        """The version that the network was trained as."""
        return self.refresh_of or self.version

    @property
    def needs(self) -> Needs:
        """What a session must keep for this model."""
        return family_of(self.family).needs(self.model)

    def ranker(self, device: torch.device, scoring: str = "exact") -> Ranker:
        """Load the model on a device, see `rankers.contract.Family`."""
        return family_of(self.family).ranker(self.model, self.items, device, scoring)


def new_version() -> str:
    """A version name that sorts by time: `20261124T080112-3f9a2c`."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def write_bundle(bundle: Bundle, directory: Path) -> str:
    """Write the bundle's files into `directory`; an existing bundle there is replaced.

    Returns:
        The bundle's sha256, 64 hexadecimal digits.

    Raises:
        BundleError: the directory holds something other than a bundle, or cannot be written.
    """
    if directory.exists() and (not directory.is_dir() or (any(directory.iterdir()) and not _is_bundle(directory))):
        raise BundleError(f"{directory} exists and is no model bundle: give an empty or a new directory")
    contents = _contents(bundle)
    digest = hashlib.sha256(contents[ABOUT]).hexdigest()
    scratch = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    try:
        scratch.mkdir(parents=True)
        for name, content in (*contents.items(), (DIGEST, f"{digest}\n".encode())):
            _write_through(scratch / name, content)
        if directory.exists():
            shutil.rmtree(directory)
        scratch.rename(directory)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise BundleError(f"cannot write the bundle to {directory}: {error.strerror or error}") from error
    return digest


def read_bundle(directory: Path, sha256: str | None = None) -> Bundle:
    """Read and check a bundle of any format.

    Args:
        directory: where the bundle's files are.
        sha256: the announced digest; None accepts the digest stated in the bundle.

    Raises:
        BundleError: a file is missing, truncated or changed, the format is unknown, or files and config disagree.
    """
    files = read_files(directory, sha256)
    try:
        return _parse(directory, files.about, files.contents)
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError, SafetensorError) as error:
        raise not_readable(directory, error) from error


def _contents(bundle: Bundle) -> dict[str, bytes]:
    """File name → content; bundle.json last."""
    family = family_of(bundle.family)
    network_files = family.network_files(bundle.model)
    items = {"items": list(bundle.items.ids), "support": bundle.items.support.tolist()}
    files = {**family.save(bundle.model), ITEMS: json.dumps(items, separators=(",", ":")).encode()}
    about = {
        "format": FORMAT,
        "version": bundle.version,
        "family": bundle.family,
        "needs": asdict(bundle.needs),
        "config": family.config(bundle.model),
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
        **({} if network_files is None else {"network_files": list(network_files)}),
        **({} if bundle.refresh_of is None else {"refresh_of": bundle.refresh_of}),
        "settings": bundle.settings,
        "trained_on": bundle.trained_on.model_dump() if bundle.trained_on else None,
        "metrics": bundle.metrics,
    }
    return {**files, ABOUT: json.dumps(about, indent=2).encode()}


def _parse(directory: Path, about: Mapping[str, Any], contents: Mapping[str, bytes]) -> Bundle:
    listed = json.loads(contents[ITEMS])
    items = ItemIndex(listed["items"], np.asarray(listed["support"], dtype=np.int64))
    if items.support.shape != (len(items),) or len(set(items.ids)) != len(items):
        raise BundleError(
            f"{directory} does not fit together: {len(items)} items with {len(set(items.ids))} different ids and "
            f"{items.support.size} supports"
        )
    family = family_of(about["family"])
    try:
        model = family.load(about["config"], contents, len(items))
    except BundleError as error:
        raise BundleError(f"{directory} does not fit together: {error}") from error
    bundle = Bundle(
        version=about["version"],
        model=model,
        items=items,
        family=about["family"],
        settings=about["settings"],
        trained_on=ClickSpan.model_validate(about["trained_on"]) if about["trained_on"] else None,
        metrics=about["metrics"],
        network_digest=network_digest(about),
        refresh_of=refresh_of(about),
    )
    if asdict(bundle.needs) != about["needs"]:
        raise BundleError(
            f"{directory} does not fit together: it says {about['needs']}, its model needs {bundle.needs}"
        )
    return bundle


def _is_bundle(directory: Path) -> bool:
    return (directory / ABOUT).is_file() and (directory / DIGEST).is_file()


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
