"""The Faust app: consume clicks, step the hidden states in batches, publish the top-20, swap the model.

`faust -A worker worker` uses `worker.app`, which is built on first access. Importing a module of this package therefore
neither reads settings nor connects to a broker.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _refuse_hidden_packages()
    from worker.service import create_app

    globals()["app"] = create_app()
    return globals()["app"]


def _refuse_hidden_packages() -> None:
    """End the process if a module of the current folder, which Faust puts first, hides one of our packages."""
    root = Path(__file__).resolve().parent.parent
    for name in ("schemas", "messaging", "clicklog", "rankers", "modelregistry"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found is not None and found != root / name / "__init__.py":
            sys.exit(
                f"nextclick: {found} hides the package {name!r} of nextclick ({root / name}): rename it, or start the "
                "worker in another folder and without it on PYTHONPATH"
            )
