"""Item-KNN (Hidasi et al. 2016, section 4): items clicked in the same sessions as the last clicked item."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions


class ItemKNN:
    """Regularised co-occurrence of two items in sessions.

        similarity(i, j) = cooc(i, j) / (sqrt(supp_i + λ) · sqrt(supp_j + λ)),   j ≠ i

    cooc counts the sessions that have both items, supp the sessions that have one item. λ lowers the similarity of rare
    items, which may share a session by chance. An item is not its own neighbour, as in the published figures: a click
    that repeats the last item is a miss (one click in four in RecSys Challenge 2015).

    Args:
        regularisation: λ; 20, the value that the paper's authors published.
    """

    def __init__(self, regularisation: float = 20.0) -> None:
        self.settings: dict[str, int | float] = {"regularisation": regularisation}
        self._regularisation = regularisation

    def fit(self, sessions: Sessions, items: int) -> None:
        """Count co-occurrences: one sparse product."""
        lengths = np.diff(sessions.offsets)
        session = np.repeat(np.arange(len(sessions)), lengths)
        clicked = sparse.csr_array(
            (np.ones(len(session), dtype=np.float32), (session, sessions.items)), shape=(len(sessions), items)
        )
        clicked.sum_duplicates()
        clicked.data[:] = 1  # two clicks on an item in a session count once
        cooccurrence = (clicked.T @ clicked).tocoo()  # (I, I)
        scale = 1 / np.sqrt(clicked.sum(axis=0) + self._regularisation)  # (I,)
        of, to = cooccurrence.coords
        values = np.where(of == to, 0, cooccurrence.data * scale[of] * scale[to])
        self._similarity = sparse.csr_array((values, (of, to)), shape=(items, items))

    def scores(self, prefixes: Prefixes) -> NDArray[np.floating]:
        """(N, I): similarity to the last clicked item; zero for items that never shared a session with it."""
        scores: NDArray[np.floating] = self._similarity[prefixes.last].toarray()
        return scores
