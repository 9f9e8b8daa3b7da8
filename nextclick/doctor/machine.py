"""This machine: the device for the network, disk space, and versions."""

import ctypes
import importlib.metadata
import os
import platform
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from nextclick.doctor.finding import Finding, error, ok, warning
from nextclick.doctor.roles import Role
from schemas.settings import Settings

DEVICE, DISK, VERSIONS = "device", "disk", "versions"

SCARCE_BYTES, FULL_BYTES = 1 << 30, 64 << 20
"""Free bytes of a disk: from here on it is low; from here on RocksDB, which reserves room for its logs, soon stops."""

_COMPUTING = {Role.WORKER, Role.TRAINER}


def device(settings: Settings, roles: Collection[Role]) -> list[Finding]:
    """Whether the GPU that is asked for exists. Torch is not imported: that takes seconds."""
    if not _COMPUTING & set(roles):
        return []
    if not settings.device.startswith("cuda"):
        return [ok(DEVICE, f"NEXTCLICK_DEVICE={settings.device}; GPUs here: {_gpus()}")]
    wanted = int(settings.device.partition(":")[2] or 0)
    if wanted >= _gpus():
        return [
            error(
                DEVICE,
                f"NEXTCLICK_DEVICE={settings.device}, and this machine has {_gpus()} GPUs that its driver shows: "
                "workers and trainers stop at their start",
                "use auto or cpu, or give this process a GPU (driver, container runtime, resource limits)",
            )
        ]
    if (torch := _version("torch")).endswith("+cpu"):
        return [
            error(
                DEVICE,
                f"NEXTCLICK_DEVICE={settings.device}, and torch {torch} is built for a CPU only",
                "install torch with CUDA, or use cpu",
            )
        ]
    return [ok(DEVICE, f"NEXTCLICK_DEVICE={settings.device}; GPUs here: {_gpus()}")]


def _gpus() -> int:
    """How many GPUs the CUDA driver shows; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def disk(settings: Settings, roles: Collection[Role]) -> list[Finding]:
    """Free space, and whether this process may write, where this machine keeps data."""
    return list(_disks(settings, roles))


def _disks(settings: Settings, roles: Collection[Role]) -> Iterator[Finding]:
    places = {}
    if Role.WORKER in roles:
        places["NEXTCLICK_DATA_DIR"] = str(settings.data_dir)
    if Role.ARCHIVER in roles:
        places["NEXTCLICK_ARCHIVE_URI"] = settings.archive_uri
    if Role.TRAINER in roles:
        places["NEXTCLICK_MODELS_URI"] = settings.models_uri
    for variable, place in places.items():
        scheme, separator, rest = place.partition("://")
        if not separator or scheme == "file":
            yield _place(variable, Path(rest if separator else place).absolute())


def _place(variable: str, path: Path) -> Finding:
    where = f"{variable}={path}"
    try:
        there = next(each for each in (path, *path.parents) if each.exists())
        usage = shutil.disk_usage(there)
        _write_probe(there)
    except OSError as failure:
        return error(
            DISK,
            f"{where} cannot be written: {failure.strerror or failure}",
            "make it writable for this process (owner, mount options), free some space, or choose another path",
        )
    free = f"{usage.free / (1 << 30):,.1f} GB of {usage.total / (1 << 30):,.1f} GB are free"
    if usage.free < FULL_BYTES:
        return error(DISK, f"the disk of {where} is full: {free}", "free some space, or use a larger disk")
    if usage.free < SCARCE_BYTES:
        return warning(DISK, f"the disk of {where} is nearly full: {free}", "free some space, or use a larger disk")
    return ok(DISK, f"{where}: {free}")


def _write_probe(directory: Path) -> None:
    probe = directory / f".probe-{secrets.token_hex(6)}"
    try:
        with probe.open("wb") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)


def versions() -> list[Finding]:
    """Whether the packages that were tested together are installed together."""
    required = importlib.metadata.requires("nextclick") or []
    pinned = dict(re.findall(r"^([\w-]+)(?:\[[^]]*\])?==([\w.]+)", "\n".join(required), re.MULTILINE))
    other = {name: _version(name) for name, version in pinned.items() if _version(name) != version}
    about = (
        f"nextclick {_version('nextclick')}, Python {platform.python_version()}, torch {_version('torch')}, "
        f"aiokafka {_version('aiokafka')}"
    )
    if not other:
        return [ok(VERSIONS, about)]
    listed = ", ".join(f"{name} is {version}, tested is {pinned[name]}" for name, version in other.items())
    return [
        warning(
            VERSIONS,
            f"{about}; {listed}",
            "install what was tested together: pip install -r requirements/base.txt",
        )
    ]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
