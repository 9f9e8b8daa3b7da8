"""Reading a few values of a JSON message by their paths, with one compiled msgspec decoder.

A path is dotted into nested objects: `user.sid` is `{"user": {"sid": …}}`. A message may also have the path itself as a
key, `{"user.sid": …}`; this key wins.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Union

import msgspec
from msgspec import UNSET

_NO_OBJECT = (str, int, float, bool, None, list)
"""What may be where a path goes on: then the message lacks the value."""


def check_paths(paths: Mapping[str, str]) -> None:
    """Check paths that are read from one message.

    Args:
        paths: what is read → its path.

    Raises:
        ValueError: a path is empty or has an empty part, two are equal, or one leads into the value of another.
    """
    for name, path in paths.items():
        if not all(path.split(".")):
            raise ValueError(f"{path!r} is no path to {name}: give a field's name, or dotted names such as user.id")
        for other, longer in paths.items():
            if name != other and f"{longer}.".startswith(f"{path}."):
                raise ValueError(f"the paths {path} and {longer} lead to the same value: give each its own")


class FieldReader:
    """Reads values of JSON messages.

    Args:
        types: path → the type that its value must have, for msgspec; at least one. The paths satisfy `check_paths`.
    """

    def __init__(self, types: Mapping[str, Any]) -> None:
        dotted = [path for path in types if "." in path]
        tree: dict[str, Any] = {}
        for path, kind in types.items():
            *above, last = path.split(".")
            node = tree
            for part in above:
                node = node.setdefault(part, {})
            node[last] = kind
        tree |= {path: types[path] for path in dotted}
        self._dotted = [list(types).index(path) for path in dotted]
        self._places = [_place(tree, path.split(".")) for path in types]
        self._get = _getter(self._places)
        self._get_flat = _getter([_place(tree, [path]) for path in dotted]) if dotted else None
        self._no_flat = (UNSET,) * len(dotted)
        self._decode = msgspec.json.Decoder(_struct(tree)).decode

    def read(self, value: bytes) -> tuple[Any, ...]:
        """The values in the order of the paths; `msgspec.UNSET` where the message lacks one.

        Raises:
            msgspec.ValidationError: a value has another type, or the message is no object.
            msgspec.DecodeError: the message is not JSON.
        """
        message = self._decode(value)
        try:
            values = self._get(message)
        except AttributeError:  # no object where a path goes on
            values = tuple(_value_at(message, place) for place in self._places)
        if self._get_flat is None:
            return values
        flat = self._get_flat(message)
        return values if flat == self._no_flat else self._with_flat(values, flat)

    def _with_flat(self, values: tuple[Any, ...], flat: tuple[Any, ...]) -> tuple[Any, ...]:
        found = list(values)
        for number, value in zip(self._dotted, flat, strict=True):
            if value is not UNSET:
                found[number] = value
        return tuple(found)


def _getter(places: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    get = attrgetter(*places)
    return get if len(places) > 1 else lambda message: (get(message),)


def _struct(tree: Mapping[str, Any]) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any, Any]] = []
    for number, (key, below) in enumerate(tree.items()):
        kind: Any = below
        default: Any = UNSET
        if isinstance(below, dict):
            nested = _struct(below)
            kind, default = Union[(nested, *_NO_OBJECT)], nested()
        fields.append((f"f{number}", kind, msgspec.field(default=default, name=key)))
    return msgspec.defstruct("Message", fields, frozen=True, gc=False)


def _place(tree: Mapping[str, Any], path: list[str]) -> str:
    """The attributes that lead to a value, dotted."""
    node: Any = tree
    names = []
    for key in path:
        names.append(f"f{list(node).index(key)}")
        node = node[key]
    return ".".join(names)


def _value_at(message: Any, place: str) -> Any:
    try:
        return attrgetter(place)(message)
    except AttributeError:
        return UNSET
