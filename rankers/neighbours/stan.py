"""STAN (Garg et al. 2019): neighbourhood sessions weighted by order and time."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from rankers.neighbours.method import NeighboursConfig, Weights
from rankers.neighbours.session_index import SessionIndex


@dataclass(frozen=True)
class STAN(NeighboursConfig):
    """Sequence and time aware neighbourhoods.

        similarity(s, n) = Σ over shared items i of e^(−back(i, s)/λ1) / sqrt(|n|) · e^(−age(n)/λ2)
        score(j) = Σ over the k most similar n with j of similarity(s, n) · e^(−|position(j, n) − position(i*, n)|/λ3)

    back(i, s) is how many clicks ago s clicked i, i* the newest item of s that n shares, and |n| the number of distinct
    items in n. The paper also divides by sqrt(|s|), which does not change the order.

    age(n) is the share of the training sessions that began after n. The paper uses days; a share needs no timestamps.
    The time between the end of training and s is left out, because it would scale all scores of s by one factor.

    The defaults were chosen on the newest sessions of the training parts of two samples of RecSys Challenge 2015 and of
    Diginetica, where λ3 = 4 gave the best Recall@20 and MRR@20 among 1, 2 and 4.

    Attributes:
        position_decay: λ1, in clicks.
        age_decay: λ2, as a share of the training sessions.
        distance_decay: λ3, in clicks.
    """

    position_decay: float = 1.0
    age_decay: float = 1.0
    distance_decay: float = 4.0

    @override
    def weights(self, index: SessionIndex) -> Weights:
        sessions = len(index.of_session) - 1
        age = np.arange(sessions)[::-1] / sessions  # (S,)
        size = np.maximum(np.diff(index.of_session), 1)  # (S,)
        farthest = int(index.positions.max(initial=0))
        return Weights(
            clicks=np.tile(np.exp(-np.arange(self.window) / self.position_decay), (self.window + 1, 1)),
            sessions=(np.exp(-age / self.age_decay) / np.sqrt(size)).astype(np.float32),
            items=np.ones(self.items, dtype=np.float32),
            back=np.ones(1),
            distance=np.exp(-np.arange(farthest + 1) / self.distance_decay),
        )
