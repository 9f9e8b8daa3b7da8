"""The processes that are measured: start, end, CPU time and memory.

worker        nextclick's worker, as a user runs it
plain-faust   the plain Faust idiom with the same traffic and no model (`benchmarks.plain_faust`)
refresh       `nextclick retrain --refresh`, which ends by itself
raw-kafka     an aiokafka loop that answers and keeps no state (`benchmarks.raw_kafka`): the upper limit
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nextclick.child_process import start_child, stop_child

STOP_SECONDS = 20.0
ROOT = Path(__file__).parent.parent
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

COMMANDS = {
    "worker": ("-m", "faust", "-A", "worker", "worker", "--without-web"),
    "refresh": ("-m", "nextclick", "retrain", "--refresh"),
    "plain-faust": ("-m", "benchmarks.plain_faust", "worker", "--without-web", "-l", "info"),
    "raw-json": ("-m", "benchmarks.raw_kafka", "json"),
    "raw-bytes": ("-m", "benchmarks.raw_kafka", "bytes"),
}


@dataclass(frozen=True)
class Contestant:
    """A running contestant."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise, with the end of its log, if the process has ended."""
        if self.process.poll() is not None:
            raise self.failure(f"ended with code {self.process.returncode}")

    def failure(self, what: str) -> SystemExit:
        """An error text with the end of the log."""
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        return SystemExit(f"{self.name}: {what}\n{tail}")

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

    def peak_memory(self) -> int:
        return peak_memory(self.process.pid)


@contextlib.contextmanager
def running(name: str, options: Mapping[str, str], directory: Path) -> Iterator[Contestant]:
    """Start a contestant in its own directory, with these settings and no others; end it afterwards."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXTCLICK_")}
    environment |= {f"NEXTCLICK_{option.upper()}": value for option, value in options.items()}
    environment["PYTHONPATH"] = str(ROOT)
    with log.open("wb") as output:
        process = start_child([sys.executable, *COMMANDS[name]], directory, output, environment)
    try:
        yield Contestant(name, process, log)
    finally:
        stop_child(process, STOP_SECONDS)


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process so far; the resolution is 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def peak_memory(pid: int) -> int:
    """Peak resident memory in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/{pid}/status has no VmHWM")


def machine() -> str:
    """Processor, cores and load, for a table heading."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    return f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores {model}, load before {os.getloadavg()[0]:.1f}"
