"""The optimiser's state at the end of a training, as one file in the bundle's directory."""

from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from schemas.errors import BundleError

FILE = "optimiser.safetensors"
"""In the directory of the bundle; workers do not fetch it."""


def pack(state: Mapping[str, Tensor]) -> bytes:
    """The state as the bytes of a file."""
    return save({name: tensor.contiguous() for name, tensor in state.items()})


def unpack(content: bytes, place: str) -> dict[str, Tensor]:
    """The state in a file's bytes.

    Args:
        content: of the file.
        place: of the file, for the error message.

    Raises:
        BundleError: the file is damaged.
    """
    try:
        return load(content)
    except (SafetensorError, ValueError) as error:
        raise BundleError(f"{place} is damaged ({error}): remove it, and the next retraining begins without") from error
