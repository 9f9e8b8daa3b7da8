"""Child processes that write to their own log and end with this process."""

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
    """Start a process with empty standard input; standard output and error go to `log`.

    On Linux it ends when the thread that starts it or this process ends, also when this process is killed.

    Args:
        command: program and arguments.
        directory: where it runs.
        log: an open file; the caller may close it at once.
        environment: its complete environment; by default that of this process.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=directory,
        env=environment,
        start_new_session=True,  # ctrl-C in the terminal goes to the parent only, which stops its children in order
        preexec_fn=_end_with_parent(),
    )


def stop_child(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a process cleanly (SIGTERM); kill it if it does not end in time."""
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
    """The call between fork and exec that makes Linux end the child together with its parent."""
    if sys.platform != "linux":
        return None
    set_parent_death_signal, parent = ctypes.CDLL(None).prctl, os.getpid()

    def end_with_parent() -> None:
        set_parent_death_signal(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return end_with_parent
