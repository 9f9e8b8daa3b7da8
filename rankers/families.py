"""The families of models: one line each. Nothing else asks which family a model is of."""

from rankers.contract import Family
from rankers.gru4rec.family import GRU4RecFamily
from schemas.errors import BundleError

FAMILIES: dict[str, Family] = {family.name: family for family in (GRU4RecFamily(),)}

DEFAULT_FAMILY = "gru4rec"
"""What `train` trains unless told otherwise; bundles of format 1 are of this family."""


def family_of(name: str) -> Family:
    """A family by its name.

    Raises:
        BundleError: this version has none of that name.
    """
    try:
        return FAMILIES[name]
    except KeyError:
        raise BundleError(f"there is no family {name!r} here (only {', '.join(FAMILIES)}): upgrade nextclick") from None
