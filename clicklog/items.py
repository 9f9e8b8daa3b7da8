"""The items of a model; each has one row in the model's tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.click import ItemId, canonical_id


@dataclass(frozen=True)
class ItemIndex:
    """Item ids in row order. `5` and `"5"` name the same item.

    Attributes:
        ids: item id of each row, in the form of `canonical_id` whatever form they are given in.
        support: (I,) int64, training clicks of each item.
    """

    ids: Sequence[ItemId]
    support: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", [canonical_id(item) for item in self.ids])

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "ItemIndex":
        """Index the items of training clicks, the most clicked first, so that often used rows are close in memory."""
        counts = frame.group_by("item_id").len("support").sort(["support", "item_id"], descending=[True, False])
        return cls(counts["item_id"].to_list(), counts["support"].to_numpy().astype(np.int64))

    @classmethod
    def beginning_with(cls, kept: Sequence[ItemId], frame: pl.DataFrame) -> "ItemIndex":
        """Index the items of clicks, after the `kept` ones, which have these rows even if they have no click."""
        clicked = cls.of(frame)
        support = np.zeros(len(kept), dtype=np.int64)
        first = cls(kept, support)
        place = first.rows(pl.Series("item_id", clicked.texts))  # (I,) -1 for an item that is not kept
        support[place[place >= 0]] = clicked.support[place >= 0]
        others = np.flatnonzero(place < 0).tolist()
        ids = [*first.ids, *(clicked.ids[row] for row in others)]
        return cls(ids, np.concatenate([support, clicked.support[others]]))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def row_of(self) -> dict[ItemId, int]:
        """Item id → row, for single items. It has both `5` and `"5"`, whichever of them was in the training clicks."""
        rows: dict[ItemId, int] = {text: row for row, text in enumerate(self.texts)}
        return rows | {item: row for row, item in enumerate(self.ids)}

    @cached_property
    def texts(self) -> list[str]:
        """The ids as texts, in row order."""
        return [str(item) for item in self.ids]

    @cached_property
    def popular(self) -> NDArray[np.int64]:
        """(I,) int64, rows by descending support; at equal support the lower row comes first."""
        return np.argsort(-self.support, kind="stable")

    def rows(self, items: pl.Series) -> NDArray[np.int64]:
        """The row of each item, (N,) int64; -1 for an item that is not in the index."""
        known = self._frame
        if items.dtype != known["item_id"].dtype:
            items, known = items.cast(pl.String), known.with_columns(pl.col("item_id").cast(pl.String))
        joined = items.rename("item_id").to_frame().join(known, on="item_id", how="left", maintain_order="left")
        return joined["row"].fill_null(-1).to_numpy().astype(np.int64, copy=False)

    @cached_property
    def _frame(self) -> pl.DataFrame:
        whole = all(isinstance(item, int) for item in self.ids)
        ids = pl.Series("item_id", self.ids if whole else self.texts, pl.Int64 if whole else pl.String)
        return pl.DataFrame({"item_id": ids, "row": np.arange(len(ids), dtype=np.int64)})
