"""The families of models, one line each. Other code uses only the interface in `rankers.contract`."""

from rankers.contract import Family
from rankers.gru4rec.family import GRU4RecFamily
from schemas.errors import BundleError

FAMILIES: dict[str, Family] = {family.name: family for family in (GRU4RecFamily(),)}

DEFAULT_FAMILY = "gru4rec"
"""The default of `train`. Bundles of format 1 are of this family."""


def family_of(name: str) -> Family:
    """The family of a name.

    Raises:
        BundleError: this version has no family of that name.
    """
    try:
        return FAMILIES[name]
    except KeyError:
        raise BundleError(f"there is no family {name!r} here (only {', '.join(FAMILIES)}): upgrade nextclick") from None
