"""The optimiser's state at the end of a training: one file beside the bundle, for the next warm start."""

from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from modelregistry.store import OPTIMISER_STATE, BundleStore
from schemas.errors import BundleError


def put_optimiser_state(store: BundleStore, version: str, state: Mapping[str, Tensor]) -> None:
    """Write the optimiser's state into a version's directory.

    Raises:
        BundleError: the store is not writable.
    """
    content = save({name: tensor.contiguous() for name, tensor in state.items()})
    store.put_beside(version, OPTIMISER_STATE, content)


def get_optimiser_state(store: BundleStore, version: str) -> dict[str, Tensor] | None:
    """The optimiser's state of a version; None if it is missing or cannot be read: a warm start works without it.

    Raises:
        BundleError: the file is damaged.
    """
    content = store.get_beside(version, OPTIMISER_STATE)
    if content is None:
        return None
    try:
        return load(content)
    except (SafetensorError, ValueError) as error:
        place = f"{store.uri_of(version)}/{OPTIMISER_STATE}"
        raise BundleError(f"{place} is damaged ({error}): remove it, and the next retraining begins without") from error
