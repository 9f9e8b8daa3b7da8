"""Facts about the rows of a file, each computed once: the rows may be larger than memory, and every pass reads them."""

from typing import Any

import polars as pl


class Facts:
    """Aggregates over rows.

    Args:
        rows: to aggregate; collected once for each call that asks for something new.
    """

    def __init__(self, rows: pl.LazyFrame) -> None:
        self.rows = rows
        self._known: dict[bytes, Any] = {}

    def of(self, *aggregates: pl.Expr) -> tuple[Any, ...]:
        """The values of aggregates. Those that are new are computed in one pass."""
        keys = [aggregate.meta.serialize() for aggregate in aggregates]
        new = {key: aggregate for key, aggregate in zip(keys, aggregates, strict=True) if key not in self._known}
        if new:
            named = (aggregate.alias(str(place)) for place, aggregate in enumerate(new.values()))
            values = self.rows.select(*named).collect(engine="streaming").row(0)
            self._known |= zip(new, values, strict=True)
        return tuple(self._known[key] for key in keys)

    def all(self, condition: pl.Expr, value: pl.Expr) -> bool:
        """Whether a condition holds for every value that is not null."""
        return bool(self.of(holds_for_all(condition, value))[0])

    def first(self, value: pl.Expr, condition: pl.Expr) -> Any:
        """The first value where a condition holds; None if it holds nowhere."""
        found = self.rows.filter(condition).select(value.alias("value")).head(1).collect(engine="streaming")
        return found.item() if len(found) else None


def holds_for_all(condition: pl.Expr, value: pl.Expr) -> pl.Expr:
    """Whether a condition holds for every value that is not null, as an aggregate."""
    return condition.fill_null(value.is_null()).all()
