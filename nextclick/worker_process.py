"""The process that `nextclick worker` becomes: `faust -A worker worker`, with our package `worker` loaded beforehand.

Faust looks for `worker` in the current folder first, and would find any module of that name there.
"""

import importlib
import sys


def main() -> None:
    """Run Faust's command line with the options of this one."""
    importlib.import_module("worker")
    sys.argv = ["faust", "-A", "worker", "worker", *sys.argv[1:]]
    from faust.cli.faust import cli

    cli(prog_name="faust")


if __name__ == "__main__":
    main()
