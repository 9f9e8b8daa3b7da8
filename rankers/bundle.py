"""The model bundle: one directory that holds all that serving needs, and proves that it is whole.

    weights.safetensors   the network's tensors
    items.json            {"items": [id, …], "support": [clicks, …]}: row i of the network is items[i]
    bundle.json           format version, model version, network shape, training settings, training span, metrics
    SHA256                digest over the three files above: the bundle's identity

Nothing is ever unpickled. A bundle is written whole or not at all, and a truncated, altered or foreign one is refused.
"""

import hashlib
import json
import os
import secrets
import shutil
import time
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from rankers.gru4rec.network import GRU4Rec, NetworkConfig
from schemas.announcement import ClickSpan
from schemas.click import ItemId
from schemas.errors import BundleError

FORMAT = 1
"""Version of this layout; another one is refused."""

FILES = ("weights.safetensors", "items.json", "bundle.json")
DIGEST = "SHA256"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained network with its items.

    Attributes:
        version: name of this model, 1 to 120 of the characters a-z, A-Z, 0-9, '.', '_', '-'.
        network: on the CPU, float32.
        items: I item ids; `items[i]` is row i of the network.
        support: (I,) int64, training clicks of each item.
        settings: what `nextclick train` was called with.
        trained_on: the stretch of the click log.
        metrics: offline, by full ranking.
    """

    version: str
    network: GRU4Rec
    items: list[ItemId]
    support: np.ndarray
    settings: dict[str, Any] = field(default_factory=dict)
    trained_on: ClickSpan | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    @cached_property
    def rows(self) -> dict[ItemId, int]:
        """Item id → row of the network. `5` and `"5"` name the same item, whichever of them was trained on."""
        twins = {_twin(item): row for row, item in enumerate(self.items)}
        return twins | {item: row for row, item in enumerate(self.items)}

    @cached_property
    def popular(self) -> np.ndarray:
        """(I,) int64, rows by falling support; the lower row first where it is equal."""
        return np.argsort(-self.support, kind="stable")


def _twin(item: ItemId) -> ItemId:
    if isinstance(item, int):
        return str(item)
    canonical = item.removeprefix("-").isdigit() and item.isascii() and str(int(item)) == item
    return int(item) if canonical else item


def new_version() -> str:
    """A version name that sorts by time: `20261124T080112-3f9a2c`."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def write_bundle(bundle: Bundle, directory: Path) -> str:
    """Write the bundle's files into `directory`, replacing a bundle that is there.

    Returns:
        The bundle's sha256, 64 hexadecimal digits.

    Raises:
        BundleError: the directory holds something else than a bundle, or cannot be written.
    """
    if directory.exists() and (not directory.is_dir() or (any(directory.iterdir()) and not _is_bundle(directory))):
        raise BundleError(f"{directory} exists and is no model bundle: give an empty or a new directory")
    contents = _contents(bundle)
    digest = _digest(contents)
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
    """Read and check a bundle.

    Args:
        directory: where the bundle's files are.
        sha256: the digest that was announced; None accepts the one in the bundle itself.

    Raises:
        BundleError: a file is missing, truncated or altered, the format is another, or weights and shape disagree.
    """
    contents = {name: _read(directory, name) for name in (*FILES, DIGEST)}
    stated = contents.pop(DIGEST).decode(errors="replace").strip()
    digest = _digest(contents)
    if digest != stated:
        raise BundleError(
            f"{directory} is damaged: its files have the sha256 {digest[:12]}…, its {DIGEST} says {stated[:12]!r}…"
        )
    if sha256 is not None and digest != sha256:
        raise BundleError(f"{directory} is not the announced bundle: sha256 {digest[:12]}…, announced {sha256[:12]}…")
    return _parse(directory, contents)


def read_digest(directory: Path) -> str:
    """The sha256 that a bundle states of itself; `read_bundle` checks it."""
    return _read(directory, DIGEST).decode(errors="replace").strip()


def _contents(bundle: Bundle) -> dict[str, bytes]:
    about = {
        "format": FORMAT,
        "version": bundle.version,
        "network": asdict(bundle.network.config),
        "settings": bundle.settings,
        "trained_on": bundle.trained_on.model_dump() if bundle.trained_on else None,
        "metrics": bundle.metrics,
    }
    items = {"items": bundle.items, "support": bundle.support.tolist()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.network.state_dict().items()}
    return {
        "weights.safetensors": save(tensors),
        "items.json": json.dumps(items, separators=(",", ":")).encode(),
        "bundle.json": json.dumps(about, indent=2).encode(),
    }


def _digest(contents: dict[str, bytes]) -> str:
    total = hashlib.sha256()
    for name in FILES:
        total.update(f"{name} {len(contents[name])}\n".encode())
        total.update(contents[name])
    return total.hexdigest()


def _parse(directory: Path, contents: dict[str, bytes]) -> Bundle:
    try:
        about = json.loads(contents["bundle.json"])
        if about.get("format") != FORMAT:
            raise BundleError(
                f"{directory} has the bundle format {about.get('format')!r}; this nextclick reads {FORMAT}"
            )
        config = NetworkConfig(**about["network"])
        items = json.loads(contents["items.json"])
        tensors = load(contents["weights.safetensors"])
        trained_on = ClickSpan.model_validate(about["trained_on"]) if about["trained_on"] else None
        support = np.asarray(items["support"], dtype=np.int64)
        ids = items["items"]
        if len(ids) != config.items or support.shape != (config.items,) or len(set(ids)) != len(ids):
            raise BundleError(
                f"{directory} does not fit together: a network of {config.items} items with {len(set(ids))} different "
                f"ids and {support.size} supports"
            )
        return Bundle(
            version=about["version"],
            network=_build(directory, config, tensors),
            items=ids,
            support=support,
            settings=about["settings"],
            trained_on=trained_on,
            metrics=about["metrics"],
        )
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError, SafetensorError) as error:
        raise BundleError(f"{directory} is no bundle that this nextclick can read: {error!r}") from error


def _build(directory: Path, config: NetworkConfig, tensors: dict[str, torch.Tensor]) -> GRU4Rec:
    table = tensors.get("output_weight")
    if table is None or tuple(table.shape) != (config.items, config.hidden) or config.layers > len(tensors):
        found_table = None if table is None else tuple(table.shape)
        raise BundleError(
            f"{directory} does not fit together: output_weight is {found_table}, the network's shape asks for "
            f"{(config.items, config.hidden)} and {config.layers} layers"
        )
    with torch.random.fork_rng(devices=[]):
        network = GRU4Rec(config)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))[0]
        raise BundleError(
            f"{directory} does not fit together: tensor {wrong!r} is {found.get(wrong)}, "
            f"the network's shape asks for {expected.get(wrong)}"
        )
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
            raise BundleError(f"{directory}: tensor {name!r} is not made of finite float32 numbers")
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)


def _read(directory: Path, name: str) -> bytes:
    try:
        return (directory / name).read_bytes()
    except OSError as error:
        raise BundleError(f"{directory} is no whole bundle: cannot read {name}: {error.strerror or error}") from error


def _is_bundle(directory: Path) -> bool:
    return (directory / "bundle.json").is_file() and (directory / DIGEST).is_file()


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
