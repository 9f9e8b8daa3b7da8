"""The entry point of the command line.

The packages of nextclick have common names. A module of the same name that Python finds first, in the current folder or
on PYTHONPATH, would fail with an error about names that nobody has heard of, so that is checked first.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("schemas", "messaging", "clicklog", "rankers", "modelregistry", "trainer", "worker")


def main() -> None:
    """Run the command line, or end with one line if another module hides one of our packages."""
    if (hidden := hidden_package(PACKAGES)) is not None:
        sys.exit(f"nextclick: {hidden}")
    from nextclick.cli import main as run

    run()


def hidden_package(names: Sequence[str]) -> str | None:
    """Why Python does not find one of our packages, in one line; None if it finds all of them."""
    root = Path(__file__).resolve().parent.parent
    for name in names:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found is not None and found != root / name / "__init__.py":
            return (
                f"{found} hides the package {name!r} of nextclick ({root / name}): rename it, or start nextclick in "
                "another folder and without it on PYTHONPATH"
            )
    return None
