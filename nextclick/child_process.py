"""Child processes that write to a log of their own and do not outlive this process."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO


def start_child(
    command: Sequence[str], directory: Path, log: BinaryIO, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that reads nothing and writes both its outputs to `log`.

    On Linux it ends with the thread that starts it, at the latest with this process, also when that is killed.

    Args:
        command: program and arguments.
        directory: where it runs.
        log: an open file; the caller may close it at once.
        environment: all of its environment; this process's by default.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=directory,
        env=environment,
        start_new_session=True,  # the terminal's ctrl-C is for the parent, which stops its children in order
        preexec_fn=_end_with_parent(),
    )


def stop_child(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a process in order (SIGTERM), and kill it where that takes longer."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill_child(process)


def kill_child(process: subprocess.Popen[bytes]) -> None:
    """End a process as a crash would (SIGKILL)."""
    process.kill()
    process.wait()


def _end_with_parent() -> Callable[[], None] | None:
    """What the child does between fork and exec so that Linux ends it together with its parent."""
    if sys.platform != "linux":
        return None
    set_parent_death_signal, parent = ctypes.CDLL(None).prctl, os.getpid()

    def end_with_parent() -> None:
        set_parent_death_signal(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return end_with_parent
