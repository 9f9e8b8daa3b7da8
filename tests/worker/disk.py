"""A disk of its own for a worker under test, and faults of the disk that tests cause."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def failing(process: int, calls: str, *, path: Path | None = None) -> Iterator[None]:
    """System calls of a process fail with EIO while the block runs.

    Args:
        process: its id.
        calls: names, separated by commas, such as `fsync,fdatasync`.
        path: only calls on this file fail.
    """
    if shutil.which("strace") is None:
        pytest.skip("needs strace (Debian: strace)")
    only = [] if path is None else ["-P", str(path)]
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", "/dev/null", *only, "-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO",
         "-p", str(process)],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert tracer.stderr is not None
    try:
        first = tracer.stderr.readline()
        while "attached" not in first and first:
            if "not permitted" in first:
                pytest.skip(f"strace may not attach to a process here: {first.strip()}")
            first = tracer.stderr.readline()
        yield
    finally:
        tracer.terminate()
        tracer.communicate()


class Disk:
    """A file system in a file, which can hang, fill up, and become read-only as after an error."""

    def __init__(self, place: Path, image: Path) -> None:
        self.place = place
        self._filler = place / "filler"
        with image.open("wb") as file:
            file.truncate(40 << 20)  # RocksDB reserves 17 MB for each partition's log, where there is room
        _run("mkfs.ext4", "-q", "-m", "0", str(image))
        place.mkdir()
        _run("mount", "-o", "loop", str(image), str(place))

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """No write to the disk returns while the block runs."""
        _run("fsfreeze", "--freeze", str(self.place))
        try:
            yield
        finally:
            _run("fsfreeze", "--unfreeze", str(self.place))

    def fill(self) -> None:
        """Leave no free byte."""
        with self._filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass

    def empty(self) -> None:
        """Make room again."""
        self._filler.unlink()

    def make_read_only(self) -> None:
        """What the kernel does when it finds an error in the file system."""
        _run("mount", "-o", "remount,abort", str(self.place))

    def repair(self) -> None:
        """Mount it for writing again."""
        device = _run("findmnt", "-n", "-o", "SOURCE", str(self.place)).strip()
        image = _run("losetup", "-n", "-O", "BACK-FILE", device).strip()
        self.close()
        subprocess.run(["e2fsck", "-y", image], check=False, capture_output=True, timeout=60)
        _run("mount", "-o", "loop", image, str(self.place))

    def close(self) -> None:
        """Unmount it. No process may have files open on it."""
        _run("umount", str(self.place))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """The disk of the worker `w1`. Ask for it before `deployment`, so that the worker ends first."""
    tools = ("mkfs.ext4", "mount", "umount", "fsfreeze", "losetup", "findmnt", "e2fsck")
    if os.geteuid() != 0 or not all(map(shutil.which, tools)):
        pytest.skip("mounts a file system: needs root and " + ", ".join(tools))
    try:
        disk = Disk(tmp_path / "w1", tmp_path / "w1.img")
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"a file system in a file cannot be mounted here: {error}")
    yield disk
    disk.close()


def flip_a_bit(path: Path, place: Callable[[int], int] = lambda size: size // 2) -> None:
    """Change one bit of a file, in the middle by default."""
    content = bytearray(path.read_bytes())
    content[place(len(content))] ^= 4
    path.write_bytes(content)
