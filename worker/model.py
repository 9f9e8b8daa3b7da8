"""A bundle made ready to serve: the network and its scorer on the device, item ids at hand."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gru4rec.bundle import Bundle
from gru4rec.topk import block_top_k, padded_items
from schemas.click import ItemId
from schemas.errors import SettingsError
from schemas.recommendation import TOP

# A session's result must not depend on what else is in its batch, so that an answer computed again is the same. Two
# things would break that on a CPU (measured with MKL and AVX-512, `tests/worker/test_recommender.py` holds it):
FEWEST_ROWS = 8
"""Rows of the smallest matrix product: below 4, MKL takes another kernel, whose sums differ in the last bits."""
ROWS = 32
"""A step's rows are filled up to a multiple: what is left over of a vector register goes through another sigmoid."""


def choose_device(setting: str) -> torch.device:
    """The device that `NEXTCLICK_DEVICE` names; `auto` takes a GPU where there is one.

    Raises:
        SettingsError: a GPU is asked for and torch sees none of that number.
    """
    if setting == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(setting)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"NEXTCLICK_DEVICE={setting!r}: torch sees {torch.cuda.device_count()} GPUs here; use auto or cpu"
        )
    return device


class ServingModel:
    """Steps hidden states and finds the top items of a batch. I items, L layers, h hidden units.

    Attributes:
        version: the bundle's.
        items: how many it knows.
        rows: item id → row of the network.
        top: items in one answer: 20, or all where the model knows fewer.
        popular: the `top` ids of highest support, best first, and their supports: for sessions without a known item.
    """

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.version = bundle.version
        self.items = len(bundle.items)
        self.rows = bundle.rows
        self.device = device
        self.top = min(TOP, len(bundle.items))
        self._ids = np.array(bundle.items, dtype=object)  # (I,)
        self._network = bundle.network.to(device)
        self.layers, self.hidden = bundle.network.config.layers, bundle.network.config.hidden
        padding = padded_items(len(bundle.items)) - len(bundle.items)
        self._weight = functional.pad(self._network.output_weight, (0, 0, 0, padding))  # (I', h)
        self._bias = functional.pad(self._network.output_bias, (0, padding), value=-torch.inf)  # (I',)
        best = bundle.popular[: self.top].tolist()
        self.popular: list[ItemId] = self._ids[best].tolist()
        self.popular_scores = [float(bundle.support[row]) for row in best]

    def initial_state(self, sessions: int) -> Tensor:
        """Zeros (sessions, L, h) on the device."""
        return self._network.initial_state(sessions)

    @torch.inference_mode()
    def step(self, items: Tensor, state: Tensor) -> Tensor:
        """One click for each session: items (B,) int64 and state (B, L, h) to the new state (B, L, h)."""
        rows = items.shape[0]
        padding = -rows % ROWS
        return self._network.step(functional.pad(items, (0, padding)), functional.pad(state, (0, 0, 0, 0, 0, padding)))[
            :rows
        ]

    @torch.inference_mode()
    def best(self, output: Tensor) -> tuple[list[list[ItemId]], list[list[float]]]:
        """The top items of each session, best first.

        Args:
            output: (B, h), the last layer's state.

        Returns:
            item ids and scores, B lists of `top` each.
        """
        rows = output.shape[0]
        padding = max(0, FEWEST_ROWS - rows)
        scores = torch.addmm(self._bias, functional.pad(output, (0, 0, 0, padding)), self._weight.T)[:rows]  # (B, I')
        values, columns = block_top_k(scores, self.top)  # (B, top) each
        ids: list[list[ItemId]] = self._ids[columns.cpu().numpy()].tolist()
        return ids, values.double().round(decimals=4).tolist()

    def warm_up(self, batch: int) -> None:
        """Run a full batch once, so that the first real one after a swap pays for nothing."""
        for size in (1, batch):
            items = torch.zeros(size, dtype=torch.int64, device=self.device)
            self.best(self.step(items, self.initial_state(size))[:, -1])
