"""Training losses: plain functions from the scores of one step to one loss per row.

Columns: the first b are the targets of the b live lanes, so row i's own target is column i, and the other targets are
its in-batch negatives. The rest are the negative samples, which all lanes share. C = b + n_sample. Duplicates are kept,
and so are samples of the target's own item.

`live` marks the columns that count: (C,) if all steps have one shape, (b, C) if the rows have different negatives. With
(C,), rows of lanes without a session have a meaningless finite loss, which the caller leaves out.

    cross-entropy   −log softmax(r)_ii
    BPR             mean_j −log σ(r_ii − r_ij)
    TOP1            mean_j [σ(r_ij − r_ii) + σ(r_ij²)] − σ(r_ii²)/C
    BPR-max         −log Σ_j s_ij σ(r_ii − r_ij) + bpreg · Σ_j s_ij r_ij²          s_i = softmax of r_i over j ≠ i,
    TOP1-max        Σ_j s_ij [σ(r_ij − r_ii) + σ(r_ij²)]                          and gradients flow through it

    binary cross-entropy   −log σ(r_ii) − mean_{j≠i} log σ(−r_ij)

    top cross-entropy      −log softmax(r)_ii over column i and the K highest-scored of the other items

BPR and TOP1: Hidasi et al., ICLR 2016; their means run over all columns, the target's own included. The -max losses:
Hidasi & Karatzoglou, CIKM 2018. Binary cross-entropy: Kang & McAuley, ICDM 2018, there with one negative. Top
cross-entropy: Wilm et al., RecSys 2023, with uniform samples.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from trainer.config import FitConfig

Loss = Callable[[Tensor, Tensor | None], Tensor]
"""From scores (b, C) and live columns, (C,) or (b, C), to one loss per row (b,)."""


def loss_of(config: FitConfig, support: Tensor) -> Callable[[Tensor, Tensor, int, Tensor | None], Tensor]:
    """The configured loss of a step.

    Args:
        config: see `FitConfig`.
        support: (I,) training clicks of each item, as floats.

    Returns:
        A function of the scores (b, C), the columns' items (C,), the number of columns that are targets, and the live
        columns, (C,) or (b, C), None if all are live; it returns one loss per row (b,).
    """
    if config.loss != "cross-entropy":
        pairwise = pairwise_loss(config)
        return lambda scores, items, targets, live: pairwise(scores, live)  # noqa: ARG005
    if config.top_negatives:
        return partial(top_cross_entropy, count=config.top_negatives)

    def corrected(scores: Tensor, items: Tensor, targets: int, live: Tensor | None) -> Tensor:
        if not config.logq:
            return cross_entropy(scores, live=live)
        correction = logq_correction(support[items], targets, config.logq, config.sample_alpha)  # (C,)
        return cross_entropy(scores, correction, live)

    return corrected


def pairwise_loss(config: FitConfig) -> Loss:
    """The configured loss, as a function of scores and live columns.

    Raises:
        ValueError: the loss is cross-entropy, which also needs the items' support.
    """
    if config.loss == "bpr-max":
        return partial(bpr_max, bpreg=config.bpreg, elu=config.elu)
    losses: dict[str, Loss] = {
        "bpr": bpr,
        "top1": top1,
        "top1-max": top1_max,
        "binary-cross-entropy": binary_cross_entropy,
    }
    if config.loss not in losses:
        raise ValueError(f"loss is {config.loss!r}: choose one of {', '.join(losses)} or bpr-max")
    return losses[config.loss]


def cross_entropy(scores: Tensor, correction: Tensor | None = None, live: Tensor | None = None) -> Tensor:
    """−log softmax(r)_ii over the step's columns.

    Args:
        scores: (b, C).
        correction: (C,), see `logq_correction`; subtracted from the scores.
        live: (C,) or (b, C), see the module.

    Returns:
        (b,), one loss per row.
    """
    corrected = scores if correction is None else scores - correction  # (b, C)
    counted = corrected if live is None else corrected.masked_fill(~live, -torch.inf)  # (b, C)
    return counted.logsumexp(dim=1) - corrected.diagonal()  # (b,)


def top_cross_entropy(scores: Tensor, items: Tensor, targets: int, live: Tensor | None, *, count: int) -> Tensor:
    """Cross-entropy over a row's own target and its hardest negatives: the items with the highest scores.

    The negatives are the different items of the columns, each once, without the row's own target; how popular they are
    is not corrected.

    Args:
        scores: (b, C).
        items: (C,) int64, each column's item.
        targets: b', the number of columns that are targets; at least b.
        live: (C,) or (b, C), see the module.
        count: K, the most negatives of a row.

    Returns:
        (b,), one loss per row; 0 if there is no negative.
    """
    own = items[: len(scores), None]  # (b, 1)
    counted = _each_item_once(items, targets, live) & (items != own)  # (b, C)
    if live is not None:
        counted &= live
    negatives = scores.masked_fill(~counted, -torch.inf)  # (b, C)
    if count < negatives.shape[1]:
        negatives = negatives.topk(count, dim=1, sorted=False).values  # (b, K)
    target = scores.diagonal()  # (b,)
    return torch.cat([target[:, None], negatives], dim=1).logsumexp(dim=1) - target


def _each_item_once(items: Tensor, targets: int, live: Tensor | None) -> Tensor:
    """Which columns are the first of their item, (C,) bool; samples come before targets, which not all rows count."""
    if live is not None and live.dim() == 1:
        items = items.masked_fill(~live, -1)
    ordered, order = items.roll(-targets).sort(stable=True)  # samples first
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    return torch.empty_like(begins).scatter_(0, order, begins).roll(targets)


def logq_correction(support: Tensor, targets: int, logq: float, alpha: float) -> Tensor:
    """Log of how often a column's item is drawn as a negative, up to a constant; subtracted from the scores.

    An item is an in-batch negative in proportion to its support, and a sampled one in proportion to support^alpha
    (Hidasi & Czapp, RecSys 2023; the sampled softmax correction of Bengio & Senécal 2008).

    Args:
        support: (C,) training clicks of each column's item.
        targets: b, the number of columns that are targets.
        logq: strength; 1 is the full correction, 0 is none.
        alpha: exponent of the sampler.

    Returns:
        (C,): logq·log(support) for the targets, logq·log(support^alpha) for the samples.
    """
    correction = logq * torch.log(support)  # (C,)
    correction[targets:] *= alpha
    return correction


def bpr(scores: Tensor, live: Tensor | None = None) -> Tensor:
    """Bayesian personalised ranking: scores (b, C) and live columns to (b,)."""
    own = scores.diagonal()[:, None]  # (b, 1)
    return _mean(functional.softplus(scores - own), live)  # (b,), −log σ(x) = softplus(−x)


def top1(scores: Tensor, live: Tensor | None = None) -> Tensor:
    """TOP1, an approximate rank plus a pull of the negatives' scores towards 0: (b, C) and live columns to (b,)."""
    own = scores.diagonal()  # (b,)
    terms = torch.sigmoid(scores - own[:, None]) + torch.sigmoid(scores.square())  # (b, C)
    return _mean(terms, live) - torch.sigmoid(own.square()) / _count(scores, live)  # (b,)


def bpr_max(scores: Tensor, live: Tensor | None = None, *, bpreg: float, elu: float) -> Tensor:
    """BPR with each negative weighted by the softmax of its score.

    Args:
        scores: (b, C).
        live: (C,) or (b, C), see the module.
        bpreg: strength of the regularisation of the negatives' scores.
        elu: scores below 0 first become elu·(eˢ − 1); 0 leaves them unchanged.

    Returns:
        (b,); 0 if there is no negative.
    """
    r = functional.elu(scores, elu) if elu else scores  # (b, C)
    negatives, any_ = _negatives(r, live)  # (b, C)
    better = functional.logsigmoid(r.diagonal()[:, None] - r)  # (b, C)
    # log Σ s σ = log Σ e^{r + log σ} − log Σ e^r, which does not underflow
    ranking = negatives.logsumexp(dim=1) - (negatives + better).logsumexp(dim=1)  # (b,)
    return any_ * (ranking + bpreg * (negatives.softmax(dim=1) * r.square()).sum(dim=1))


def top1_max(scores: Tensor, live: Tensor | None = None) -> Tensor:
    """TOP1 with each negative weighted by the softmax of its score: scores (b, C) and live columns to (b,).

    0 if there is no negative.
    """
    own = scores.diagonal()[:, None]  # (b, 1)
    negatives, any_ = _negatives(scores, live)  # (b, C)
    terms = torch.sigmoid(scores - own) + torch.sigmoid(scores.square())  # (b, C)
    return any_ * (negatives.softmax(dim=1) * terms).sum(dim=1)  # (b,)


def binary_cross_entropy(scores: Tensor, live: Tensor | None = None) -> Tensor:
    """A target should score above 0 and its negatives below: scores (b, C) and live columns to (b,).

    0 if there is no negative.
    """
    counted = ~torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)  # (b, C)
    if live is not None:
        counted &= live
    negatives = counted.sum(dim=1)  # (b,)
    negative = (functional.softplus(scores) * counted).sum(dim=1) / negatives.clamp(min=1)  # (b,)
    return (negatives > 0) * (functional.softplus(-scores.diagonal()) + negative)


def _negatives(scores: Tensor, live: Tensor | None) -> tuple[Tensor, Tensor | bool]:
    """Scores (b, C) with −∞ outside the negatives, and whether a row has any; a row without any is unchanged."""
    own = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)  # (b, C)
    if live is None:
        return scores.masked_fill(own & (scores.shape[1] > 1), -torch.inf), scores.shape[1] > 1
    any_ = live.sum(dim=-1) > 1  # () or (b,)
    return scores.masked_fill((own | ~live) & any_[..., None], -torch.inf), any_


def _count(scores: Tensor, live: Tensor | None) -> Tensor | int:
    return scores.shape[1] if live is None else live.sum(dim=-1)


def _mean(terms: Tensor, live: Tensor | None) -> Tensor:
    """Mean over the live columns: (b, C) to (b,)."""
    return terms.mean(dim=1) if live is None else (terms * live).sum(dim=1) / live.sum(dim=-1)
