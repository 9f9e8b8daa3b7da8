"""The tensors of a network as a bundle's file, and their transfer to a network for other items."""

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import nn

from schemas.errors import BundleError, printable

WEIGHTS = "weights.safetensors"

N = TypeVar("N", bound=nn.Module)


def save_weights(network: nn.Module) -> dict[str, bytes]:
    """File name → content: one file with the network's tensors."""
    return {WEIGHTS: save({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()})}


def load_weights(build: Callable[[], N], files: Mapping[str, bytes], layers: int) -> N:
    """A network with the saved tensors, on the CPU, for inference.

    Args:
        build: makes a network of the saved shape; it is called on the meta device, where weights take no memory. There
            it must do without `cat`, `zeros_like` and `randn`: for these torch imports sympy and more, which takes
            150 MB and a second of CPU time at each start of a worker.
        files: those of `save_weights`.
        layers: of the saved shape; a damaged one of millions is refused before they are built.

    Raises:
        BundleError: the tensors do not match the shape, which may be too large for any memory, or are not finite
            float32 numbers.
    """
    tensors = load(files[WEIGHTS])
    if layers > len(tensors):
        raise BundleError(f"{layers} layers with {len(tensors)} tensors")
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = build()
    except (RuntimeError, OverflowError) as error:
        raise BundleError(f"a network of this shape cannot be built: {printable(str(error), 200)}") from error
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))[0]
        raise BundleError(f"tensor {wrong!r} is {found.get(wrong)}, the network's shape asks for {expected.get(wrong)}")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
            raise BundleError(f"tensor {name!r} is not made of finite float32 numbers")
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)


def grown_from(parent: N, build: Callable[[], N], before: NDArray[np.int64], seed: int) -> N:
    """A network for another set of items with the parent's layers, and its rows of the items in both.

    Args:
        parent: has the attribute `item_tables`, the names of the parameters with one row per item.
        build: makes a new network for the other items.
        before: (I',) int64, the row that each item has in the parent; -1 for a new item, whose weights are random.
        seed: of the new rows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
    now = torch.from_numpy(np.flatnonzero(before >= 0))  # (K,) rows of the items that the parent has too
    fresh = network.state_dict()
    tables = cast(tuple[str, ...], parent.item_tables)
    with torch.no_grad():
        for name, tensor in parent.state_dict().items():
            if name in tables:
                fresh[name][now] = tensor[torch.from_numpy(before)[now]]
            else:
                fresh[name].copy_(tensor)
    return network
