"""The config of a model in bundle.json, checked: it may be damaged, or written by another program."""

import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, cast, get_origin, get_type_hints

from schemas.errors import BundleError, printable

C = TypeVar("C")

KINDS = {
    int: "a whole number below 2^63",
    float: "a finite number",
    str: "a text",
    dict: "an object of names and values",
}
"""The types that are checked here; others, such as `Literal`, are checked by the class of the config."""


def checked_config(kind: type[C], stated: Any) -> C:
    """The config of a model, or a part of it.

    Args:
        kind: its dataclass, which raises ValueError for a value that is out of range. A part is a dataclass too.
        stated: the part of bundle.json, as `json.loads` returns it. A name that has a default may be missing.

    Raises:
        BundleError: a name is missing or unknown, or a value has another type or is out of range.
    """
    if not isinstance(stated, Mapping):
        raise BundleError(f"its config is {_shown(stated)}: it must be {KINDS[dict]}")
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in stated.items():
        if name not in types:
            raise BundleError(f"in its config, {_shown(name)} is none of {', '.join(types)}: upgrade nextclick")
        wanted = types[name]
        is_part = isinstance(wanted, type) and is_dataclass(wanted)
        shape = dict if is_part else get_origin(wanted) or wanted
        if shape in KINDS and not _is(shape, value):
            raise BundleError(f"in its config, {name} is {_shown(value)}: it must be {KINDS[shape]}")
        values[name] = checked_config(wanted, value) if is_part else value
    for field in fields(cast(Any, kind)):
        if field.default is MISSING and field.name not in stated:
            raise BundleError(f"in its config, {field.name} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise BundleError(f"in its config, {error}") from error


def _is(wanted: type, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if wanted is int:
        return isinstance(value, int) and abs(value) < 2**63
    if wanted is float:
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max  # false for NaN
    return isinstance(value, wanted)


def _shown(value: Any) -> str:
    return printable(repr(value), 100)
