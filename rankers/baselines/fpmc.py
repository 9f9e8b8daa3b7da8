"""Factorised transitions in the manner of FPMC (Rendle et al. 2010), for sessions without a user."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from rankers.baselines.markov import transitions
from schemas.errors import TrainingError

_EPSILON = 1e-6


class FactorisedTransitions:
    """score(i → j) = <P_i, Q_j> + b_j, fitted by S-BPR: the next item should score above a random item.

    FPMC adds a term for the user's factors. Sessions are anonymous, so that term is left out, as in other comparisons
    of session-based methods. Negatives are drawn uniformly and each step uses one transition, as in the paper; the
    step size is Adagrad's.

    Args:
        factors: number per item, in each of its two roles (before and after).
        learning_rate: Adagrad's.
        regularisation: λ of λ/2·(|P_i|² + |Q_j|² + |Q_k|²), per transition.
        epochs: passes over the transitions.
        seed: of the initial factors, the order and the negatives.
    """

    def __init__(
        self,
        factors: int = 100,
        learning_rate: float = 0.1,
        regularisation: float = 0.001,
        epochs: int = 15,
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
        """Fit the factors.

        Raises:
            TrainingError: a factor is not finite.
        """
        random = np.random.default_rng(self._seed)
        of, to = transitions(sessions)  # (E,) each
        shape = items, int(self.settings["factors"]) + 1  # the last column of Q is the bias, the last column of P is 1
        P, Q = (random.normal(0, 0.1, shape).astype(np.float32) for _ in range(2))
        P[:, -1], Q[:, -1] = 1, 0
        squares = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        for _ in range(int(self.settings["epochs"])):
            order = random.permutation(len(of))
            drawn = random.integers(0, items, len(of))
            _pass(
                of[order],
                to[order],
                drawn,
                P,
                Q,
                *squares,
                np.float32(self.settings["learning_rate"]),
                np.float32(self.settings["regularisation"]),
            )
        if not (np.isfinite(P).all() and np.isfinite(Q).all()):
            raise TrainingError(f"fpmc diverged: lower its learning rate ({self.settings['learning_rate']})")
        self._before, self._after = P, Q

    def scores(self, prefixes: Prefixes) -> NDArray[np.floating]:
        """(N, I): score of the transition from the last clicked item to each item."""
        scores: NDArray[np.floating] = self._before[prefixes.last] @ self._after.T
        return scores


@njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]
def _pass(
    of: NDArray[np.int64],
    to: NDArray[np.int64],
    drawn: NDArray[np.int64],
    P: NDArray[np.float32],
    Q: NDArray[np.float32],
    P_squares: NDArray[np.float32],
    Q_squares: NDArray[np.float32],
    rate: np.float32,
    regularisation: np.float32,
) -> None:
    """One pass over the transitions of → to, each with a negative item `drawn`; (E,) each, tables (I, F+1)."""
    bias = P.shape[1] - 1
    for event in range(len(of)):
        i, j, k = of[event], to[event], drawn[event]
        if j == k:
            continue
        margin = np.float32(0)
        for f in range(bias + 1):
            margin += P[i, f] * (Q[j, f] - Q[k, f])
        push = np.float32(1) / (np.float32(1) + np.exp(margin))  # −d(−log σ(margin))/d margin
        for f in range(bias + 1):
            p, q, r = P[i, f], Q[j, f], Q[k, f]
            _move(Q, Q_squares, j, f, regularisation * q - push * p, rate)
            _move(Q, Q_squares, k, f, regularisation * r + push * p, rate)
            if f < bias:
                _move(P, P_squares, i, f, regularisation * p - push * (q - r), rate)


@njit(cache=True, fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _move(
    table: NDArray[np.float32],
    squares: NDArray[np.float32],
    row: int,
    column: int,
    gradient: np.float32,
    rate: np.float32,
) -> None:
    """Adagrad: acc += g², p −= rate · g / sqrt(acc + ε)."""
    squares[row, column] += gradient * gradient
    table[row, column] -= rate * gradient / np.sqrt(squares[row, column] + np.float32(_EPSILON))
