"""The training step of networks that read the history: whole sessions, every click but the last a query, by autograd.

The targets of all queries of a step are each other's negatives, as in session-parallel training, but not those of one
session: an item of the query's own session is a far more frequent negative than the items' popularity says, and
the network would learn to avoid repeats.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from clicklog.sessions import Sessions
from rankers.history.network import HistoryNetwork
from trainer.backends.autograd import AutogradBackend, leaf
from trainer.batches.equal_length import EqualLengthBatches, equal_length
from trainer.config import FitConfig


class WholeSessionsBackend(AutogradBackend[EqualLengthBatches]):
    """Trains a network in place: the rows of a step's items, and all layers.

    Sizes in the comments: b sessions of n inputs, R = b · n queries, C = R + n_sample columns, U different items.
    """

    def __init__(self, network: HistoryNetwork, support: NDArray[np.int64], config: FitConfig) -> None:
        super().__init__(network, support, config)
        self.network: HistoryNetwork = network
        self.layers = {
            name: parameter for name, parameter in network.named_parameters() if name not in network.item_tables
        }

    @override
    def schedule(self, sessions: Sessions, order: NDArray[np.int64]) -> EqualLengthBatches:
        return equal_length(sessions, self.config.batch_size, self.network.config.window, order)

    @override
    def _step(self, schedule: EqualLengthBatches, number: int) -> Tensor:
        clicks = schedule.clicks(number)  # (b, n+1)
        sessions, inputs = len(clicks), clicks.shape[1] - 1
        columns = np.concatenate([clicks[:, 1:].ravel(), self.sampler.draw(self.config.samples)])  # (C,)
        # Each item's row is gathered once, so that autograd sums the gradients of an item that occurs several times.
        unique, place = np.unique(np.concatenate([columns, clicks[:, :-1].ravel()]), return_inverse=True)
        rows, places = self._tensor(unique), self._tensor(place)  # (U,), (C+R,)
        vectors = leaf(self.network.item_vectors, rows)  # (U, h)
        queries = self.network.queries(
            vectors[places[len(columns) :]].view(sessions, inputs, -1),
            dropout_embedding=self.config.dropout_embedding,
            dropout_hidden=self.config.dropout_hidden,
        ).flatten(0, 1)  # (R, h)
        scores = queries @ vectors[places[: len(columns)]].t()  # (R, C)
        live = _columns_of_other_sessions(sessions, inputs, len(columns), self.device)
        loss = self.loss_of(scores, rows[places[: len(columns)]], len(queries), live).sum()  # ()
        gradients = torch.autograd.grad(loss / self.config.batch_size, [vectors, *self.layers.values()])
        self.optimiser.update_rows("item_vectors", self.network.item_vectors, rows, gradients[0])
        for (name, parameter), gradient in zip(self.layers.items(), gradients[1:], strict=True):
            self.optimiser.update(name, parameter, gradient)
        return loss.detach()


def _columns_of_other_sessions(sessions: int, inputs: int, columns: int, device: torch.device) -> Tensor | None:
    """(R, C), False where a column is another target of the query's session; None where there is no such column."""
    if inputs == 1:
        return None
    queries = sessions * inputs
    live = torch.ones(queries, columns, dtype=torch.bool, device=device)
    own = live[:, :queries].view(sessions, inputs, sessions, inputs)  # query's session and place, target's
    each = torch.arange(sessions, device=device)
    own[each, :, each] = torch.eye(inputs, dtype=torch.bool, device=device)
    return live
