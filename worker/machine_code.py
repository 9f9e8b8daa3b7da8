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
from rankers.compiled import cache_below
from schemas.errors import one_line

log = logging.getLogger(__name__)

STOPPING = signal.SIGINT, signal.SIGTERM
LONGEST_SECONDS = 300.0
"""After which the worker no longer waits for the compiler, or for another process that compiles."""


async def compile_scorers_ahead(data_dir: Path) -> None:
    """Compile what is not in numba's cache, in a process of its own, which takes the compiler's memory with it.

    If that fails, a warning says why, and the worker compiles when it loads a model. SIGTERM or SIGINT meanwhile ends
    both processes.

    Args:
        data_dir: the worker's; the cache is below it if numba finds no other writable place.
    """
    begin = monotonic()
    try:
        if compile_ahead.cache_directory() is None:
            cache_below(data_dir / "numba")
        if compile_ahead.is_done():
            return
        log.info("compiling the scorers, once for this version and this CPU, into %s", compile_ahead.cache_directory())
        failure = await _compile_in_child(_environment())
    except (OSError, RuntimeError) as error:
        failure = one_line(error)
    if failure is None:
        log.info("the scorers are compiled, in %.1f s", monotonic() - begin)
    else:
        log.warning(
            "the scorers could not be compiled ahead (%s): the first model of each family will be compiled while "
            "clicks are answered, which is slow meanwhile",
            failure,
        )


def _environment() -> dict[str, str]:
    """Of the child: the same packages and the same cache."""
    sources = str(Path(compile_ahead.__file__).parents[1])
    path = os.pathsep.join(filter(None, (sources, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **compile_ahead.cache_environment()}


async def _compile_in_child(environment: dict[str, str]) -> str | None:
    """Why it failed; None if it did not.

    Raises:
        OSError: no process can be started.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "rankers.compile_ahead",
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    loop, ended = asyncio.get_running_loop(), asyncio.ensure_future(process.communicate())
    for number in STOPPING:
        loop.add_signal_handler(number, ended.cancel)
    try:
        await asyncio.wait({ended}, timeout=LONGEST_SECONDS)
    finally:
        for number in STOPPING:
            loop.remove_signal_handler(number)
    if ended.cancelled() or not ended.done():
        if process.returncode is None:
            process.kill()
        await process.wait()
        if ended.cancelled():
            sys.exit(0)
        ended.cancel()
        return f"not done after {LONGEST_SECONDS:.0f} s"
    if process.returncode == 0:
        return None
    assert process.returncode is not None
    if process.returncode < 0:
        return f"killed by signal {-process.returncode}; 9 is mostly the memory limit"
    _, errors = ended.result()
    return errors.decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {process.returncode}"
