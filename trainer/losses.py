"""Training losses: plain functions from the scores of one step to one loss per row.

Columns: the first b are the targets of the b live lanes, so that row i's own target is column i and the other targets
are its in-batch negatives; the rest are the negative samples that all lanes share. C = b + n_sample.
"""

import torch
from torch import Tensor


def cross_entropy(scores: Tensor, correction: Tensor | None = None) -> Tensor:
    """−log softmax(r)_ii over the step's columns.

    Args:
        scores: (b, C).
        correction: (C,), see `logq_correction`; subtracted from the scores.

    Returns:
        (b,), one loss per row.
    """
    corrected = scores if correction is None else scores - correction  # (b, C)
    return corrected.logsumexp(dim=1) - corrected.diagonal()  # (b,)


def logq_correction(support: Tensor, targets: int, logq: float, alpha: float) -> Tensor:
    """How much more often a column's item is drawn as a negative, as a log: training subtracts it from the scores.

    An item is an in-batch negative in proportion to its support, and a sampled one in proportion to support^alpha
    (Hidasi & Czapp, RecSys 2023; the sampled softmax correction of Bengio & Senécal 2008).

    Args:
        support: (C,) training clicks of each column's item.
        targets: b, how many of the columns are targets.
        logq: strength; 1 corrects in full, 0 not at all.
        alpha: exponent of the sampler.

    Returns:
        (C,): logq·log(support) for the targets, logq·log(support^alpha) for the samples.
    """
    correction = logq * torch.log(support)  # (C,)
    correction[targets:] *= alpha
    return correction
