"""The output layer of a network for serving: the exact best items, or the scores of all items, for some queries."""

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rankers.contract import Mask, Top
from rankers.scoring.masked import best_allowed
from rankers.scoring.scorers import DeviceScorer, QuantisedScorer, Scorer, exact_scorer

ROWS = 32
"""On a CPU the rows of a product are padded to a multiple of this, so a session's result does not depend on its batch.
Without padding, elements that do not fill a vector register use another sigmoid implementation, and MKL uses another
product kernel below 4 rows."""


class OutputLayer:
    """Scores q·Wᵀ + b of all items.

    Args:
        weight: W, (I, h) float32, on any device.
        bias: b, (I,) float32.
        scoring: `exact`, or `int8` with float32 re-ranking (on a CPU).
    """

    def __init__(self, weight: Tensor, bias: Tensor, scoring: str) -> None:
        self.weight = weight
        self.bias = bias
        self._scoring = scoring

    @cached_property
    def scorer(self) -> Scorer:
        """Finds the best items; its tables are made when it is used first."""
        if self._scoring == "int8" and self.weight.device.type == "cpu":
            return QuantisedScorer(self.weight, self.bias, exact=False)
        return exact_scorer(self.weight, self.bias)

    def scorer_with_sums(self) -> QuantisedScorer | DeviceScorer:
        """A scorer that also finds log Σ exp(score / T), the logarithm of a softmax's sum. It becomes the layer's: its
        tables exist once.

        On a CPU the scores in the sum are those from int8 products: these are exact, and the sum is always in the same
        order, so it does not depend on the batch, on k or on the kernel of a matrix product.
        """
        made = self.__dict__.get("scorer")
        if isinstance(made, QuantisedScorer | DeviceScorer):
            return made
        scorer = (
            QuantisedScorer(self.weight, self.bias, exact=self._scoring != "int8")
            if self.weight.device.type == "cpu"
            else DeviceScorer(self.weight, self.bias)
        )
        self.scorer = scorer
        return scorer

    @torch.inference_mode()
    def best(self, queries: Tensor, k: int, allowed: Mask | None) -> Top:
        """See `rankers.contract.Ranker`: without a mask by the scorer; with a mask from the scores of all items."""
        if allowed is not None:
            return best_allowed(self.scores(queries, None), k, allowed)
        return Top(*self.scorer.best(queries, k))

    @torch.inference_mode()
    def scores(self, queries: Tensor, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """The scores (Q, I) of all items, or (Q, len(rows)), by one matrix product."""
        weight, bias = self.weight, self.bias
        if rows is not None:
            chosen = torch.from_numpy(rows).to(weight.device)
            weight, bias = weight[chosen], bias[chosen]
        padded = functional.pad(queries, (0, 0, 0, -len(queries) % ROWS))
        found: NDArray[np.float32] = functional.linear(padded, weight, bias)[: len(queries)].cpu().numpy()
        return found
