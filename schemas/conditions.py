"""Which rows or messages are clicks: `event_type=view,cart`, the syntax of `--where` and NEXTCLICK_CLICK_WHERE."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

from schemas.message_fields import check_paths


@dataclass(frozen=True)
class Condition:
    """A row or message is a click only if a field has one of some values.

    Attributes:
        path: name of the field, dotted into nested ones.
        values: one of them, compared as text.
    """

    path: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `path=value[,value]`.

        Raises:
            ValueError: the text has no path or no value.
        """
        path, _, listed = text.partition("=")
        values = tuple(value.strip() for value in listed.split(","))
        if not path.strip() or not all(values):
            raise ValueError(f"{text!r} is not FIELD=VALUE or FIELD=VALUE,VALUE, such as event_type=view")
        return cls(path.strip(), values)

    def __str__(self) -> str:
        return f"{self.path}={','.join(self.values)}"


def read_conditions(texts: Sequence[str]) -> tuple[Condition, ...]:
    """Read conditions that must all hold.

    Raises:
        ValueError: a text is not a condition.
    """
    return tuple(map(Condition.of, texts))


def split_conditions(text: str) -> tuple[Condition, ...]:
    """Read conditions on messages, separated by semicolons: `type=view,cart; user.kind=person`.

    Raises:
        ValueError: a part is not a condition, its path leads into that of another, two parts contradict each other, or
            there is nothing but spaces and semicolons.
    """
    conditions = read_conditions([part for part in text.split(";") if part.strip()])
    if text and not conditions:
        raise ValueError(f"{text!r} is no condition: write FIELD=VALUE, such as type=view, or nothing")
    for first, second in combinations(conditions, 2):
        if first.path == second.path and not set(first.values) & set(second.values):
            either = ",".join((*first.values, *second.values))
            raise ValueError(f"no message meets both {first} and {second}: for either, write {first.path}={either}")
    check_paths({condition.path: condition.path for condition in conditions})
    return conditions
