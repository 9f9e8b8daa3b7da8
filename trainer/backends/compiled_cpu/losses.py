"""The losses of one lane over the step's unique items. `trainer.objective.losses` computes the same over columns.

    r (U,)   scores, overwritten with the gradient of the loss by them
    w (U,)   weights: the number of the item's columns; for cross-entropy the sum of their e^−correction
    t        slot of the lane's target
    n        number of columns
    returns  the loss

Each function loops over the items several times; a lane's scores stay in the first-level cache. A target that occurs in
m columns is also a negative, m − 1 times. The -max losses add these terms separately: `_hide` first sets the target's
score so low that it adds nothing to the sums over the negatives.
"""

import math

import numpy as np

from rankers.compiled import compiled_into_callers
from trainer.backends.compiled_cpu.arithmetic import ONE, TWO, ZERO, exp, float_of_bits, sigmoid, softplus
from trainer.backends.compiled_cpu.layout import Floats, Options

NAMES = ("cross-entropy", "bpr", "top1", "bpr-max", "top1-max", "top-cross-entropy")
SIGN, REST = np.int32(31), np.int32(0x7FFFFFFF)
HIDDEN = np.float32(100)  # this far below the highest score, e^r adds nothing to a sum


@compiled_into_callers
def loss_and_gradient(r: Floats, w: Floats, t: int, n: int, options: Options) -> float:
    """Compute the configured loss, and replace `r` by its gradient."""
    if options.loss == 0:
        return cross_entropy(r, w, t)
    if options.loss == 1:
        return bpr(r, w, t, n)
    if options.loss == 2:
        return top1(r, w, t, n)
    if n == 1:
        r[:] = ZERO
        return 0.0
    if options.loss == 3:
        return bpr_max(r, w, t, options.bpreg, options.elu)
    if options.loss == 4:
        return top1_max(r, w, t)
    return top_cross_entropy(r, t, options.top_negatives)


@compiled_into_callers
def cross_entropy(r: Floats, w: Floats, t: int) -> float:
    """L = log Σ w e^r − r_t        dL/dr = w e^r / Σ w e^r − [target]; the caller adds the target's correction."""
    own, highest = r[t], _highest(r)
    total = ZERO
    for u in range(len(r)):
        e = w[u] * exp(r[u] - highest)
        r[u] = e
        total += e
    scale = ONE / total
    for u in range(len(r)):
        r[u] *= scale
    r[t] -= ONE
    return math.log(total) + (highest - own)  # type: ignore[no-any-return]


@compiled_into_callers
def top_cross_entropy(r: Floats, t: int, count: int) -> float:
    """L = log Σ e^r − r_t over the target and the `count` other items with the highest scores        dL/dr as above."""
    own = r[t]
    least = r[t] = -np.float32(np.inf)
    if count < len(r) - 1:
        least = np.partition(r, len(r) - count)[len(r) - count]
    highest = max(own, _highest(r))
    total = exp(own - highest)
    for u in range(len(r)):
        e = exp(r[u] - highest) if r[u] >= least and u != t else ZERO
        r[u] = e
        total += e
    scale = ONE / total
    for u in range(len(r)):
        r[u] *= scale
    r[t] = scale * exp(own - highest) - ONE
    return math.log(total) + (highest - own)  # type: ignore[no-any-return]


@compiled_into_callers
def bpr(r: Floats, w: Floats, t: int, n: int) -> float:
    """L = Σ w softplus(r − r_t) / n        dL/dr = w σ(r − r_t) / n        dL/dr_t = −Σ of the others' dL/dr."""
    own, scale = r[t], ONE / np.float32(n)
    loss = total = ZERO
    for u in range(len(r)):
        loss += w[u] * softplus(r[u] - own)
        r[u] = scale * w[u] * sigmoid(r[u] - own)
        total += r[u]
    r[t] -= total
    return np.float64(loss * scale)


@compiled_into_callers
def top1(r: Floats, w: Floats, t: int, n: int) -> float:
    """L = (Σ w [σ(r − r_t) + σ(r²)] − σ(r_t²)) / n        dL/dr = w [σ'(r − r_t) + 2r σ'(r²)] / n.

    The target's gradient is smaller by [Σ w σ'(r − r_t) + 2r_t σ'(r_t²)] / n.
    """
    own, scale = r[t], ONE / np.float32(n)
    loss = total = ZERO
    for u in range(len(r)):
        above, large = sigmoid(r[u] - own), sigmoid(r[u] * r[u])
        loss += w[u] * (above + large)
        push = w[u] * above * (ONE - above)
        total += push
        r[u] = scale * (push + w[u] * TWO * r[u] * large * (ONE - large))
    large = sigmoid(own * own)
    r[t] -= scale * (total + TWO * own * large * (ONE - large))
    return np.float64((loss - large) * scale)


@compiled_into_callers
def bpr_max(r: Floats, w: Floats, t: int, bpreg: np.float32, elu: np.float32) -> float:
    """L = −log(A / Z) + bpreg·R / Z,  e = w e^r,  σ = σ(r_t − r),  Z = Σ e,  A = Σ e σ,  R = Σ e r².

    dL/dr   = e [(1 − bpreg·R / Z) / Z − σ² / A + bpreg (r² + 2r) / Z]        since σ − σ (1 − σ) = σ²
    dL/dr_t = −Σ e σ (1 − σ) / A

    The gradient by a score before ELU is that times 1 if r > 0, else times r + elu.
    """
    if elu > 0:
        for u in range(len(r)):
            r[u] = r[u] if r[u] > 0 else elu * (exp(r[u]) - ONE)
    own, others = r[t], w[t] - ONE
    highest = _hide(r, t, others)
    lead = exp(highest - own)  # σ(r_t − r) = 1 / (1 + e^(r − r_t)), with e^(r − highest) known
    z = a = square = slope = ZERO
    for u in range(len(r)):
        power = exp(r[u] - highest)
        e, better = w[u] * power, ONE / (ONE + power * lead)
        z += e
        a += e * better
        square += e * r[u] * r[u]
        slope += e * better * (ONE - better)
    e_own = others * exp(own - highest) if others > 0 else ZERO
    z += e_own
    a += e_own / TWO
    square += e_own * own * own
    slope += e_own / (TWO * TWO)
    a = max(a, np.float32(1e-37))
    constant = (ONE - bpreg * square / z) / z
    for u in range(len(r)):
        power = exp(r[u] - highest)
        e, better = w[u] * power, ONE / (ONE + power * lead)
        d = e * (constant - better * better / a + bpreg / z * (r[u] * r[u] + TWO * r[u]))
        r[u] = d * (r[u] + elu) if elu > 0 and r[u] < 0 else d
    d = e_own * (constant - ONE / (TWO * TWO * a) + bpreg / z * (own * own + TWO * own)) - slope / a
    r[t] = d * (own + elu) if elu > 0 and own < 0 else d
    return math.log(z) - math.log(a) + np.float64(bpreg * square / z)


@compiled_into_callers
def top1_max(r: Floats, w: Floats, t: int) -> float:
    """L = Σ e f / Z,  f = σ(r − r_t) + σ(r²),  e = w e^r,  Z = Σ e.

    dL/dr = e [f − L + σ'(r − r_t) + 2r σ'(r²)] / Z        dL/dr_t = −Σ e σ'(r − r_t) / Z
    """
    own, others = r[t], w[t] - ONE
    highest = _hide(r, t, others)
    lead = exp(own - highest)  # σ(r − r_t) = e^r / (e^r + e^r_t), both over e^highest
    z = total = slope = ZERO
    for u in range(len(r)):
        power = exp(r[u] - highest)
        e, above = w[u] * power, power / (power + lead)
        z += e
        total += e * (above + sigmoid(r[u] * r[u]))
        slope += e * above * (ONE - above)
    large = sigmoid(own * own)
    e_own = others * exp(own - highest) if others > 0 else ZERO
    z += e_own
    total += e_own * (ONE / TWO + large)
    slope += e_own / (TWO * TWO)
    loss, scale = total / z, ONE / z
    for u in range(len(r)):
        power, big = exp(r[u] - highest), sigmoid(r[u] * r[u])
        e, above = w[u] * power, power / (power + lead)
        f = above * (TWO - above) + big * (ONE + TWO * r[u] * (ONE - big))  # σ + σ', and the same of r²
        r[u] = scale * e * (f - loss)
    f = ONE / TWO + ONE / (TWO * TWO) + large * (ONE + TWO * own * (ONE - large))
    r[t] = scale * (e_own * (f - loss) - slope)
    return np.float64(loss)


@compiled_into_callers
def _highest(r: Floats) -> np.float32:
    """The maximum, compared as integers: this loop is vectorised, and NaN counts as the highest."""
    bits = r.view(np.int32)
    highest = bits[0] ^ ((bits[0] >> SIGN) & REST)  # negative: flips all bits but the sign, to order as floats do
    for u in range(len(bits)):
        highest = max(highest, bits[u] ^ ((bits[u] >> SIGN) & REST))
    return float_of_bits(np.int32(highest ^ ((highest >> SIGN) & REST)))  # type: ignore[no-any-return]


@compiled_into_callers
def _hide(r: Floats, t: int, others: np.float32) -> np.float32:
    """Set the target's score far below the highest score of the negatives; returns that highest score.

    Args:
        r: (U,), changed at t.
        t: the target's slot.
        others: how often the target is also a negative.
    """
    own = r[t]
    r[t] = -np.float32(np.inf)
    highest = _highest(r)
    if others > 0:
        highest = max(highest, own)
    r[t] = highest - HIDDEN
    return highest
