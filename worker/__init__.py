"""The Faust app: consume clicks, step the hidden states in batches, publish the top-20, swap the model.

`faust -A worker worker` uses `worker.app`, which is built on first access. Importing a module of this package therefore
neither reads settings nor connects to a broker.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from worker.service import create_app

    globals()["app"] = create_app()
    return globals()["app"]
