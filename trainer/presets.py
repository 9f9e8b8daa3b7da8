"""Known-good settings of a training by name. Imports little.

DEFAULT      the defaults of `nextclick train`
FAMILY_DEFAULTS   the same for each family
RETRAINING   the defaults of `nextclick retrain`; the file NEXTCLICK_RETRAIN_CONFIG overrides them
PUBLISHED    the settings that the authors of GRU4Rec publish for RSC15
PAPER        the settings of the 2016 paper, by loss
"""

from dataclasses import replace

from trainer.config import BLEND, FitConfig, TrainConfig

DEFAULT = TrainConfig()
"""The best on validation parts of three public data sets; `trainer.config` gives the reason for each value."""

FAMILY_DEFAULTS: dict[str, TrainConfig] = {
    "gru4rec": DEFAULT,
    # The paper's dropout.
    "narm": TrainConfig(FitConfig(dropout_embedding=0.25, dropout_hidden=0.5), family="narm"),
    # With the lower learning rate of the others it needs more epochs.
    "stamp": TrainConfig(FitConfig(learning_rate=0.1, dropout_embedding=0.1, epochs=8), family="stamp"),
    # Adam with .001 and two blocks were no better, and slower.
    "sasrec": TrainConfig(
        FitConfig(batch_size=256, learning_rate=0.03, dropout_embedding=0.4, epochs=8), family="sasrec"
    ),
    # Long sessions count on all of their items; `rankers.neighbours.stan` says how the rest was chosen.
    "vs-knn": TrainConfig(family="vs-knn", window=50),
    "stan": TrainConfig(family="stan", window=50),
}
"""By name of the family. Those of the networks were chosen on the newest tenth of the training sessions of
rsc15_apr_2days."""


def blend_defaults(network: str) -> TrainConfig:
    """Of a blend of a network of this family: the network's own, and the newest tenth to fit the weight on.

    Neighbours alone read 50 clicks; with a network that reads the history, both read its window.
    """
    own = FAMILY_DEFAULTS[network]
    window = FAMILY_DEFAULTS["stan"].window if network == "gru4rec" else own.window
    return replace(own, family=BLEND, network=network, window=window, validate=0.1)  # type: ignore[arg-type]


FAMILY_DEFAULTS[BLEND] = blend_defaults(TrainConfig().network)

RETRAINING = TrainConfig(FitConfig(samples=512))
"""A retraining is repeated every day or every hour: 512 negatives lose .001 to .008 of Recall@20 and train 1.5 times as
fast."""

PUBLISHED = TrainConfig(FitConfig(batch_size=32, learning_rate=0.2))
"""For comparison with published results. DEFAULT has larger batches (faster) and a lower learning rate (better)."""

_PAPER = TrainConfig(
    FitConfig(
        samples=0,  # the other sessions of the mini-batch were the only negatives
        logq=0.0,  # this correction was published in 2023
    ),
    input="one-hot",
    reset="before",
)
PAPER = {
    "top1": replace(
        _PAPER,
        fit=replace(_PAPER.fit, loss="top1", batch_size=50, dropout_hidden=0.5, learning_rate=0.01, momentum=0.0),
    ),
    "bpr": replace(
        _PAPER,
        fit=replace(_PAPER.fit, loss="bpr", batch_size=50, dropout_hidden=0.2, learning_rate=0.05, momentum=0.2),
    ),
    "cross-entropy": replace(
        _PAPER,
        fit=replace(_PAPER.fit, batch_size=500, dropout_hidden=0.0, learning_rate=0.01, momentum=0.0),
    ),
}
"""The best settings that Hidasi et al. (ICLR 2016) found for each loss on RSC15, with 100 units. docs/paper.md compares
the paper's findings with the results here."""
