"""Bundles with one network and other neighbours, as files: nothing here loads a model."""

import hashlib
import json
from pathlib import Path

from rankers.bundle_files import ABOUT, DIGEST, FORMAT, ITEMS

NETWORK = "weights.safetensors"
NEIGHBOURS = "sessions.safetensors"


def refreshable(directory: Path, version: str, refresh_of: str | None = None) -> Path:
    """Write a bundle with a network of 10 kB and with neighbours of its own.

    Args:
        directory: to write to.
        version: of the bundle.
        refresh_of: the version whose network it has; None: its own.
    """
    files = {
        NETWORK: (refresh_of or version).encode() * 1000,
        NEIGHBOURS: f"neighbours of {version}".encode(),
        ITEMS: b'{"items": [1], "support": [1]}',
    }
    about = {
        "format": FORMAT,
        "version": version,
        "family": "any",
        "needs": {"history": 1, "memory": 0},
        "config": {},
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
        "network_files": [NETWORK],
        **({} if refresh_of is None else {"refresh_of": refresh_of}),
        "settings": {},
        "trained_on": None,
        "metrics": {},
    }
    content = json.dumps(about).encode()
    directory.mkdir(parents=True)
    for name, file in {**files, ABOUT: content, DIGEST: hashlib.sha256(content).hexdigest().encode()}.items():
        (directory / name).write_bytes(file)
    return directory
