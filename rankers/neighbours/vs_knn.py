"""VS-kNN (Ludewig & Jannach 2018) in the form of VMIS-kNN (Kersbergen et al. 2022): items of similar sessions."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from rankers.neighbours.method import NeighboursConfig, Weights
from rankers.neighbours.session_index import SessionIndex


@dataclass(frozen=True)
class VSKNN(NeighboursConfig):
    """Vector multiplication session-based k nearest neighbours.

        similarity(s, n) = Σ over shared items i of position(i, s) / |s|
        score(j) = Σ over the k most similar n with j of similarity(s, n) · max(0, 1 − back(s, n)/10) · log(S / supp_j)

    position(i, s) is the position of the last click on i in s, from 1; back(s, n) is how many clicks ago s clicked the
    newest item that n shares; supp_j counts the training sessions with j.
    """

    @override
    def weights(self, index: SessionIndex) -> Weights:
        sessions = len(index.of_session) - 1
        length = np.maximum(np.arange(self.window + 1)[:, np.newaxis], 1)  # (W+1, 1)
        return Weights(
            clicks=np.maximum(length - np.arange(self.window), 1) / length,
            sessions=np.ones(sessions, dtype=np.float32),
            items=np.log(sessions / np.maximum(index.support, 1)).astype(np.float32),
            back=1 - np.arange(11) / 10,
            distance=np.ones(1),
        )
