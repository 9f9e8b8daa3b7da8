"""Bundles of format 1 (nextclick 0.1): only GRU4Rec, three files, one digest over all of them."""

import hashlib
from collections.abc import Mapping
from typing import Any

FILES = ("weights.safetensors", "items.json", "bundle.json")


def digest(contents: Mapping[str, bytes]) -> str:
    """The bundle's digest: sha256 over names, sizes and contents of FILES."""
    total = hashlib.sha256()
    for name in FILES:
        total.update(f"{name} {len(contents[name])}\n".encode())
        total.update(contents[name])
    return total.hexdigest()


def as_format_2(about: Mapping[str, Any], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Convert bundle.json to format 2. The files must have been checked by `digest` before.

    Args:
        about: bundle.json of format 1.
        contents: the other files.
    """
    shape = about["network"]
    return {
        **about,
        "family": "gru4rec",
        "needs": {"history": 0, "memory": shape["layers"] * shape["hidden"] * 4},
        "config": shape,
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in contents.items()
        },
    }
