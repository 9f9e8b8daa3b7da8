"""Standard output into a pipe whose reader leaves first, as in `nextclick recommendations | head`."""

import asyncio
import contextlib
import io
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def ends_with_its_reader() -> Iterator[None]:
    """End the block's process quietly, with exit code 0, if it fails because the reader of its output has left."""
    pipe = _pipe()
    try:
        yield
    except (BrokenPipeError, SystemExit) as end:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        left = pipe is not None and _reader_has_left(pipe)
        _drop_output(left)
        if left and (isinstance(end, BrokenPipeError) or end.code):
            sys.exit(0)
        raise
    finally:
        if pipe is not None:
            os.close(pipe)


def when_reader_leaves(act: Callable[[], object]) -> None:
    """Call `act` from the running event loop as soon as the reader of standard output has left."""
    pipe = _pipe()
    if pipe is None:
        return
    loop = asyncio.get_running_loop()

    def look() -> None:
        loop.remove_reader(pipe)
        os.close(pipe)
        act()

    loop.add_reader(pipe, look)  # a pipe that is written to becomes readable only by an error


def _pipe() -> int | None:
    """A duplicate of standard output if it is a pipe; Rich and Click may replace standard output itself."""
    try:
        number = sys.stdout.fileno()
        return os.dup(number) if stat.S_ISFIFO(os.fstat(number).st_mode) else None
    except (OSError, ValueError, io.UnsupportedOperation):  # closed, or replaced by a test
        return None


def _reader_has_left(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _drop_output(left: bool) -> None:
    """Discard what is still buffered if the reader has left; else Python would report it at exit."""
    if left:
        with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
