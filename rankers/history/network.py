"""Networks that read the last items of a session: the interface that training and serving use.

Such a network keeps no state. From the items of a session so far it computes a query (h,), and an item's score is the
product of the query with the item's vector, which is also the item's input. Training computes the queries after all
clicks of a session in one pass; serving computes only the last one.

Sizes in the shape comments: B sessions, n clicks of each, m queries of each, h hidden units, I items.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from rankers.recurrent import uniform


@dataclass(frozen=True)
class HistoryConfig:
    """The shape of a network that reads the history: everything needed to build it untrained.

    Raises:
        ValueError: a size is below 1.
    """

    items: int
    hidden: int = 100
    window: int = 20

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: a network needs at least 1")


class HistoryNetwork(nn.Module):
    """A table of item vectors and the layers of a subclass. Sessions of a batch do not influence each other.

    Item vectors are drawn uniformly from ±sqrt(6 / (I + h)). Use `torch.manual_seed` for reproducible weights.

    Attributes:
        item_tables: names of the parameters with one row per item.
        config: the network's shape.
        item_vectors: (I, h) float32, input and output of the items.
    """

    item_tables: ClassVar[tuple[str, ...]] = ("item_vectors",)

    def __init__(self, config: HistoryConfig) -> None:
        super().__init__()
        self.config = config
        self.item_vectors = nn.Parameter(uniform(config.items, config.hidden))  # (I, h)

    @property
    def attention_width(self) -> int:
        """Numbers that a pass holds at once for each pair of a query and a click."""
        return self.config.hidden

    @abstractmethod
    def queries(
        self,
        inputs: Tensor,
        last: Tensor | None = None,
        *,
        dropout_embedding: float = 0.0,
        dropout_hidden: float = 0.0,
    ) -> Tensor:
        """The queries after the clicks of some sessions.

        Args:
            inputs: (B, n, h), the clicked items' rows of `item_vectors`, oldest first, n ≤ window.
            last: (B,) int64, the place of each session's last click, from 0; what comes after it has no influence.
                None for sessions of equal length, of which the query after every click is wanted.
            dropout_embedding: probability that a unit of an input is dropped, in training.
            dropout_hidden: probability that a unit further on is dropped; the subclass says where.

        Returns:
            (B, n, h), the query after every click; (B, 1, h), the query after the last click, if `last` is given.
        """


def distances(clicks: int, last: Tensor | None, device: torch.device) -> Tensor:
    """How many clicks each click is before each query, 0 if it is not: (1, n, n) for all clicks, or (B, 1, n)."""
    places = torch.arange(clicks, device=device)
    queries = places[None, :, None] if last is None else last[:, None, None]  # (1, n, 1) or (B, 1, 1)
    return (queries - places).clamp(min=0)


def visible(clicks: int, last: Tensor | None, device: torch.device) -> Tensor:
    """Which clicks each query may read, its own and those before: (1, n, n) for all clicks, or (B, 1, n)."""
    places = torch.arange(clicks, device=device)
    queries = places[None, :, None] if last is None else last[:, None, None]  # (1, n, 1) or (B, 1, 1)
    return places <= queries


def at_queries(x: Tensor, last: Tensor | None) -> Tensor:
    """The rows of x (B, n, h) at the clicks whose queries are wanted: x itself, or (B, 1, h)."""
    return x if last is None else x[torch.arange(len(x), device=x.device), last][:, None]
