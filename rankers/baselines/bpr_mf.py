"""BPR-MF (Rendle et al. 2009), as Hidasi et al. 2016 use it: a session is the average of its items' factors."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from schemas.errors import TrainingError


class BPRMF:
    """Matrix factorisation of sessions × items by the library `implicit`, on one thread: results repeat with a seed.

    A new session has no trained factors, so the average of its items' factors is used.

    Args:
        factors: number per item, without the bias.
        learning_rate: of the stochastic gradient descent.
        regularisation: L2, of factors and biases.
        epochs: each draws one sample per click.
        seed: of the initial factors and the samples.
    """

    def __init__(
        self,
        factors: int = 100,
        learning_rate: float = 0.05,
        regularisation: float = 0.01,
        epochs: int = 50,
        seed: int = 0,
    ) -> None:
        self.settings: dict[str, int | float] = {
            "factors": factors,
            "learning_rate": learning_rate,
            "regularisation": regularisation,
            "epochs": epochs,
        }
        self._seed = seed

    def fit(self, sessions: Sessions, items: int) -> None:
        """Factorise which session clicked which item.

        Raises:
            TrainingError: the library is not installed.
        """
        try:
            from implicit.cpu.bpr import BayesianPersonalizedRanking
        except ImportError as error:
            raise TrainingError("bpr-mf needs the library implicit: pip install 'nextclick[study]'") from error
        session = np.repeat(np.arange(len(sessions), dtype=np.int32), np.diff(sessions.offsets))
        clicked = sparse.csr_matrix(
            (np.ones(len(session), dtype=np.float32), (session, sessions.items)), shape=(len(sessions), items)
        )
        with threadpool_limits(1, "blas"):  # avoids a warning about BLAS threads, which are not used
            model = BayesianPersonalizedRanking(
                factors=int(self.settings["factors"]),
                learning_rate=self.settings["learning_rate"],
                regularization=self.settings["regularisation"],
                iterations=int(self.settings["epochs"]),
                num_threads=1,
                random_state=self._seed,
            )
            model.fit(clicked, show_progress=False)
        self._factors = np.asarray(model.item_factors)[:, :-1]  # (I, F)
        self._bias = np.asarray(model.item_factors)[:, -1]  # (I,)

    def scores(self, prefixes: Prefixes) -> NDArray[np.floating]:
        """(N, I): the session's average factors times the item's factors, plus the item's bias."""
        summed = np.add.reduceat(self._factors[prefixes.items], prefixes.offsets[:-1])  # (N, F)
        session = summed / np.diff(prefixes.offsets)[:, None].astype(np.float32)
        scores: NDArray[np.floating] = session @ self._factors.T + self._bias
        return scores
