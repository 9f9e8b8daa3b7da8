"""Training losses: plain functions from the scores of one step to one loss per row.

Columns: the first b are the targets of the b live lanes, so that row i's own target is column i and the other targets
are its in-batch negatives; the rest are the negative samples that all lanes share. C = b + n_sample. Duplicates, and
samples that hit the target's item, stay.

    cross-entropy   −log softmax(r)_ii
    BPR             mean_j −log σ(r_ii − r_ij)
    TOP1            mean_j [σ(r_ij − r_ii) + σ(r_ij²)] − σ(r_ii²)/C
    BPR-max         −log Σ_j s_ij σ(r_ii − r_ij) + bpreg · Σ_j s_ij r_ij²          s_i = softmax of r_i over j ≠ i,
    TOP1-max        Σ_j s_ij [σ(r_ij − r_ii) + σ(r_ij²)]                          and gradients flow through it

BPR and TOP1: Hidasi et al., ICLR 2016; their means run over all columns, the target's own included. The -max losses:
Hidasi & Karatzoglou, CIKM 2018.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from trainer.config import FitConfig

Loss = Callable[[Tensor], Tensor]


def pairwise_loss(config: FitConfig) -> Loss:
    """The configured loss from scores (b, C) to (b,).

    Raises:
        ValueError: it is cross-entropy, which needs the items' support as well.
    """
    if config.loss == "bpr-max":
        return partial(bpr_max, bpreg=config.bpreg, elu=config.elu)
    losses: dict[str, Loss] = {"bpr": bpr, "top1": top1, "top1-max": top1_max}
    if config.loss not in losses:
        raise ValueError(f"loss is {config.loss!r}: choose one of {', '.join(losses)} or bpr-max")
    return losses[config.loss]


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


def bpr(scores: Tensor) -> Tensor:
    """Bayesian personalised ranking: scores (b, C) to (b,)."""
    own = scores.diagonal()[:, None]  # (b, 1)
    return functional.softplus(scores - own).mean(dim=1)  # (b,), −log σ(x) = softplus(−x)


def top1(scores: Tensor) -> Tensor:
    """TOP1, an approximate rank with negative scores held near 0: scores (b, C) to (b,)."""
    own = scores.diagonal()  # (b,)
    terms = torch.sigmoid(scores - own[:, None]) + torch.sigmoid(scores.square())  # (b, C)
    return terms.mean(dim=1) - torch.sigmoid(own.square()) / scores.shape[1]  # (b,)


def bpr_max(scores: Tensor, bpreg: float, elu: float) -> Tensor:
    """BPR weighted by how near each negative is to the top.

    Args:
        scores: (b, C).
        bpreg: strength of the regularisation of the negatives' scores.
        elu: scores below 0 become elu·(eˢ − 1) first; 0 leaves them as they are.

    Returns:
        (b,); 0 where there is no negative at all.
    """
    if scores.shape[1] == 1:
        return 0 * scores[:, 0]
    r = functional.elu(scores, elu) if elu else scores  # (b, C)
    negatives = _negatives(r)  # (b, C)
    better = functional.logsigmoid(r.diagonal()[:, None] - r)  # (b, C)
    # log Σ s σ = log Σ e^{r + log σ} − log Σ e^r, so that nothing underflows
    ranking = negatives.logsumexp(dim=1) - (negatives + better).logsumexp(dim=1)  # (b,)
    return ranking + bpreg * (negatives.softmax(dim=1) * r.square()).sum(dim=1)


def top1_max(scores: Tensor) -> Tensor:
    """TOP1 weighted by how near each negative is to the top: scores (b, C) to (b,); 0 where there is no negative."""
    if scores.shape[1] == 1:
        return 0 * scores[:, 0]
    own = scores.diagonal()[:, None]  # (b, 1)
    terms = torch.sigmoid(scores - own) + torch.sigmoid(scores.square())  # (b, C)
    return (_negatives(scores).softmax(dim=1) * terms).sum(dim=1)  # (b,)


def _negatives(scores: Tensor) -> Tensor:
    """Scores (b, C) with −∞ for each row's own target."""
    own = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)  # (b, C)
    return scores.masked_fill(own, -torch.inf)
