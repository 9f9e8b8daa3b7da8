"""The device that a network runs on: its name, checked against the devices that torch finds on this machine."""

import re

import torch

from schemas.errors import SettingsError


def choose_device(name: str, source: str = "NEXTCLICK_DEVICE") -> torch.device:
    """The device of a name; `auto` is a GPU if there is one, else the CPU.

    Args:
        name: `auto`, `cpu`, `cuda` or `cuda:N`.
        source: the setting or option that gave the name, for the error message.

    Raises:
        SettingsError: the name is none of these, or torch finds no such GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if re.fullmatch(r"cpu|cuda(:\d+)?", name) is None:
        raise SettingsError(f"{source}={name!r} is no device: use auto, cpu, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"{source}={name!r}: torch sees {torch.cuda.device_count()} GPUs here; use auto or cpu")
    return device


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, of Python, numpy or torch, on a CPU or GPU."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    said = str(error) if isinstance(error, RuntimeError) else ""
    return "allocate memory" in said or "Storage size calculation overflowed" in said  # torch on a CPU
