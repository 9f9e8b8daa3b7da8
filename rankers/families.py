"""The families of models, one line each. Other code uses only the interface in `rankers.contract`."""

from rankers.blend.family import BlendFamily
from rankers.contract import CountedFamily, Family, NetworkFamily, RefreshableFamily
from rankers.gru4rec.family import GRU4RecFamily
from rankers.history.family import HistoryFamily
from rankers.history.network import HistoryConfig
from rankers.narm.network import NARM
from rankers.neighbours.family import NeighboursFamily
from rankers.neighbours.stan import STAN
from rankers.neighbours.vs_knn import VSKNN
from rankers.sasrec.network import SASRec, SASRecConfig
from rankers.stamp.network import STAMP
from schemas.errors import BundleError

_NETWORKS = (
    GRU4RecFamily(),
    HistoryFamily("narm", NARM, HistoryConfig),
    HistoryFamily("stamp", STAMP, HistoryConfig),
    HistoryFamily("sasrec", SASRec, SASRecConfig),
)
_NEIGHBOURS = (NeighboursFamily("vs-knn", VSKNN), NeighboursFamily("stan", STAN))
_ALL: tuple[Family, ...] = (*_NETWORKS, *_NEIGHBOURS, BlendFamily(_NETWORKS, _NEIGHBOURS))
FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}

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


def network_family_of(name: str) -> NetworkFamily:
    """The family of a name, which is one of networks."""
    family = family_of(name)
    assert isinstance(family, NetworkFamily)
    return family


def is_counted(name: str) -> bool:
    """Whether models of the family of this name are counted, not trained."""
    return isinstance(family_of(name), CountedFamily)


def counted_family_of(name: str) -> CountedFamily:
    """The family of a name, which is one of those that count."""
    family = family_of(name)
    assert isinstance(family, CountedFamily)
    return family


def refreshable_family_of(name: str) -> RefreshableFamily:
    """The family of a name, if its models have neighbours that can be counted anew.

    Raises:
        BundleError: they have none, or there is no such family.
    """
    family = family_of(name)
    if isinstance(family, RefreshableFamily):
        return family
    able = [other.name for other in _ALL if isinstance(other, RefreshableFamily)]
    raise BundleError(f"a model of the family {name} has no neighbours to refresh (only {', '.join(able)} have)")
