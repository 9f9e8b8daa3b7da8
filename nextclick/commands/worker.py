"""`nextclick worker`: answers clicks."""

import os
import sys
from typing import NoReturn

import typer

PASSES_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""What typer does with options that it does not know."""


def worker(context: typer.Context) -> NoReturn:
    """Answer clicks until SIGTERM or ctrl-C. Starts `faust -A worker worker`, in whatever folder.

    Options are Faust's: -l info (how much is logged), --web-port, --without-web, …; `faust worker --help` lists them.
    """
    # -P: modules of the current folder, such as another worker.py, are not found.
    command = [sys.executable, "-P", "-m", "nextclick.worker_process", *context.args]
    sys.stdout.flush()
    os.execv(command[0], command)
