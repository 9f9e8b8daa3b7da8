"""The softmax of an output layer: the logarithm of the sum that makes probabilities of scores.

Sizes in the shape comments: Q queries, h hidden units, I items, k best items.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankers.scoring.output_layer import OutputLayer


class Softmax:
    """softmax(g / T) of the scores g of an output layer.

    On a CPU the sum is that of the scores from int8 products: these are exact, and the sum is always in the same order,
    so it does not depend on the batch, on the candidates or on the kernel of a matrix product. On a GPU it is the sum
    of the float32 scores.

    Args:
        output: the layer.
        temperature: T, above 0.
    """

    def __init__(self, output: OutputLayer, temperature: float) -> None:
        self._temperature = temperature
        self._scorer = output.scorer_with_sums()

    @torch.inference_mode()
    def best(self, queries: Tensor, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The rows of the k highest scores, (Q, k) best first, and log Σ exp(g / T), (Q,)."""
        return self._scorer.best_and_log_sums(queries, k, self._temperature)

    @torch.inference_mode()
    def log_sums(self, queries: Tensor, temperature: float | None = None) -> NDArray[np.float64]:
        """log Σ exp(g / T), (Q,); for another T if one is given."""
        return self._scorer.best_and_log_sums(queries, 1, temperature or self._temperature)[1]
