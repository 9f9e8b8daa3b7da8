"""The methods that a network has to beat, with one interface (`rankers.baselines.contract.Baseline`).

    pop          items by their clicks in training
    s-pop        items by their clicks in the session so far, then by their clicks in training
    item-knn     items that share sessions with the last click's item
    bpr-mf       matrix factorisation for ranking; a session is the average of its items' factors
    markov       items that followed the last click's item
    fpmc         markov's transitions as a product of factors

Example:
    >>> baseline = make_baseline("item-knn", seed=0)
    >>> baseline.fit(train, items=len(index))
    >>> ranks = rank_events(baseline.scores, test, items=len(index)).rank
"""

from collections.abc import Callable

from clicklog.prefixes import Prefixes
from rankers.baselines.bpr_mf import BPRMF
from rankers.baselines.contract import Baseline
from rankers.baselines.fpmc import FactorisedTransitions
from rankers.baselines.item_knn import ItemKNN
from rankers.baselines.markov import MarkovChain
from rankers.baselines.popularity import Popularity, SessionPopularity
from schemas.errors import TrainingError

__all__ = ["BASELINES", "Baseline", "Prefixes", "make_baseline"]

BASELINES: dict[str, Callable[[int], Baseline]] = {
    "pop": lambda _seed: Popularity(),
    "s-pop": lambda _seed: SessionPopularity(),
    "item-knn": lambda _seed: ItemKNN(),
    "bpr-mf": lambda seed: BPRMF(seed=seed),
    "markov": lambda _seed: MarkovChain(),
    "fpmc": lambda seed: FactorisedTransitions(seed=seed),
}
"""Name → function from a seed to a new baseline with its default settings. Deterministic baselines ignore the seed."""


def make_baseline(name: str, seed: int = 0) -> Baseline:
    """Make a baseline by its name; it is not fitted yet.

    Raises:
        TrainingError: there is no baseline of this name.
    """
    if name not in BASELINES:
        raise TrainingError(f"there is no method {name!r}: choose from {', '.join(BASELINES)}")
    return BASELINES[name](seed)
