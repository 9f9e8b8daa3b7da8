"""Training losses: plain functions from the scores of one step to one loss per row.

Columns: the first b are the targets of the b live lanes, so that row i's own target is column i and the other targets
are its in-batch negatives; the rest are the negative samples that all lanes share. C = b + n_sample. Duplicates, and
samples that hit the target's item, stay. Where steps have one shape, `live` (C,) says which columns count; the rows of
lanes without a session have some finite loss then, which the caller leaves out.

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

Loss = Callable[[Tensor, Tensor | None], Tensor]
"""From scores (b, C), and which columns are live (C,), to (b,)."""


def loss_of(config: FitConfig, support: Tensor) -> Callable[[Tensor, Tensor, int, Tensor | None], Tensor]:
    """The configured loss of a step.

    Args:
        config: see there.
        support: (I,) training clicks of each item, a float.

    Returns:
        A function of the scores (b, C), the columns' items (C,), how many of the columns are targets, and which columns
        are live (C,), or None where all are; it returns one loss per row (b,).
    """
    if config.loss != "cross-entropy":
        pairwise = pairwise_loss(config)
        return lambda scores, items, targets, live: pairwise(scores, live)  # noqa: ARG005

    def corrected(scores: Tensor, items: Tensor, targets: int, live: Tensor | None) -> Tensor:
        if not config.logq:
            return cross_entropy(scores, live=live)
        correction = logq_correction(support[items], targets, config.logq, config.sample_alpha)  # (C,)
        return cross_entropy(scores, correction, live)

    return corrected


def pairwise_loss(config: FitConfig) -> Loss:
    """The configured loss of scores and live columns.

    Raises:
        ValueError: it is cross-entropy, which needs the items' support as well.
    """
    if config.loss == "bpr-max":
        return partial(bpr_max, bpreg=config.bpreg, elu=config.elu)
    losses: dict[str, Loss] = {"bpr": bpr, "top1": top1, "top1-max": top1_max}
    if config.loss not in losses:
        raise ValueError(f"loss is {config.loss!r}: choose one of {', '.join(losses)} or bpr-max")
    return losses[config.loss]


def cross_entropy(scores: Tensor, correction: Tensor | None = None, live: Tensor | None = None) -> Tensor:
    """−log softmax(r)_ii over the step's columns.

    Args:
        scores: (b, C).
        correction: (C,), see `logq_correction`; subtracted from the scores.
        live: (C,), see the module.

    Returns:
        (b,), one loss per row.
    """
    corrected = scores if correction is None else scores - correction  # (b, C)
    counted = corrected if live is None else corrected.masked_fill(~live, -torch.inf)  # (b, C)
    return counted.logsumexp(dim=1) - corrected.diagonal()  # (b,)


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


def bpr(scores: Tensor, live: Tensor | None = None) -> Tensor:
    """Bayesian personalised ranking: scores (b, C) and live columns (C,) to (b,)."""
    own = scores.diagonal()[:, None]  # (b, 1)
    return _mean(functional.softplus(scores - own), live)  # (b,), −log σ(x) = softplus(−x)


def top1(scores: Tensor, live: Tensor | None = None) -> Tensor:
    """TOP1, an approximate rank with negative scores held near 0: scores (b, C) and live columns (C,) to (b,)."""
    own = scores.diagonal()  # (b,)
    terms = torch.sigmoid(scores - own[:, None]) + torch.sigmoid(scores.square())  # (b, C)
    return _mean(terms, live) - torch.sigmoid(own.square()) / _count(scores, live)  # (b,)


def bpr_max(scores: Tensor, live: Tensor | None = None, *, bpreg: float, elu: float) -> Tensor:
    """BPR weighted by how near each negative is to the top.

    Args:
        scores: (b, C).
        live: (C,), see the module.
        bpreg: strength of the regularisation of the negatives' scores.
        elu: scores below 0 become elu·(eˢ − 1) first; 0 leaves them as they are.

    Returns:
        (b,); 0 where there is no negative at all.
    """
    r = functional.elu(scores, elu) if elu else scores  # (b, C)
    negatives, any_ = _negatives(r, live)  # (b, C)
    better = functional.logsigmoid(r.diagonal()[:, None] - r)  # (b, C)
    # log Σ s σ = log Σ e^{r + log σ} − log Σ e^r, so that nothing underflows
    ranking = negatives.logsumexp(dim=1) - (negatives + better).logsumexp(dim=1)  # (b,)
    return any_ * (ranking + bpreg * (negatives.softmax(dim=1) * r.square()).sum(dim=1))


def top1_max(scores: Tensor, live: Tensor | None = None) -> Tensor:
    """TOP1 weighted by how near each negative is to the top: scores (b, C) and live columns (C,) to (b,).

    0 where there is no negative.
    """
    own = scores.diagonal()[:, None]  # (b, 1)
    negatives, any_ = _negatives(scores, live)  # (b, C)
    terms = torch.sigmoid(scores - own) + torch.sigmoid(scores.square())  # (b, C)
    return any_ * (negatives.softmax(dim=1) * terms).sum(dim=1)  # (b,)


def _negatives(scores: Tensor, live: Tensor | None) -> tuple[Tensor, Tensor | bool]:
    """Scores (b, C) with −∞ where no negative stands, and whether there is any; else they are left as they are."""
    own = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)  # (b, C)
    any_ = _count(scores, live) > 1
    return scores.masked_fill((own if live is None else own | ~live) & any_, -torch.inf), any_


def _count(scores: Tensor, live: Tensor | None) -> Tensor | int:
    return scores.shape[1] if live is None else live.sum()


def _mean(terms: Tensor, live: Tensor | None) -> Tensor:
    """Over the live columns: (b, C) to (b,)."""
    return terms.mean(dim=1) if live is None else (terms * live).sum(dim=1) / live.sum()
