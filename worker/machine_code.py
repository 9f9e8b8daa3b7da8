"""Makes sure, before the worker takes partitions, that no model has to be compiled while clicks are answered."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

from rankers import compile_ahead
from rankers.compiled import keep_machine_code

log = logging.getLogger(__name__)

STOPPING = signal.SIGINT, signal.SIGTERM


async def prepare(data_dir: Path) -> None:
    """Compile what is not in numba's cache, in a process of its own, which takes the compiler's memory with it.

    If that fails, the worker starts all the same, and compiles when it loads a model. SIGTERM or SIGINT meanwhile ends
    both processes.

    Args:
        data_dir: the worker's; the cache is below it if numba finds no other writable place.
    """
    environment = dict(os.environ)
    if compile_ahead.place() is None:
        keep_machine_code(data_dir / "numba")
        environment["NUMBA_CACHE_DIR"] = str(data_dir.absolute() / "numba")
    if compile_ahead.is_done():
        return
    begin = monotonic()
    log.info("compiling the scorers, once for this version and this CPU, into %s", compile_ahead.place())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "rankers.compile_ahead",
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    said = await _last_words(process)
    if process.returncode == 0:
        log.info("the scorers are compiled, in %.1f s", monotonic() - begin)
    else:
        log.warning(
            "the scorers could not be compiled ahead (%s): the first model of each family will be compiled while "
            "clicks are answered, which is slow meanwhile",
            said or f"exit code {process.returncode}",
        )


async def _last_words(process: asyncio.subprocess.Process) -> str:
    """Wait for the end of a process; the last line of its standard error."""
    loop, waiting = asyncio.get_running_loop(), asyncio.ensure_future(process.communicate())
    for number in STOPPING:
        loop.add_signal_handler(number, waiting.cancel)
    try:
        _, said = await waiting
    except asyncio.CancelledError:
        process.terminate()
        sys.exit(0)
    finally:
        for number in STOPPING:
            loop.remove_signal_handler(number)
    return said.decode(errors="replace").strip().rpartition("\n")[2]
