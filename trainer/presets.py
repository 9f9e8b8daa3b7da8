"""Known-good settings of a training by name. Light to import.

DEFAULT      of `nextclick train`
RETRAINING   of `nextclick retrain`, where NEXTCLICK_RETRAIN_CONFIG says nothing else
PUBLISHED    what the authors of GRU4Rec publish for RSC15
PAPER        what the 2016 paper trained with, by loss
"""

from dataclasses import replace

from trainer.config import FitConfig, TrainConfig

DEFAULT = TrainConfig()
"""The best on validation parts of three public data sets; the reason of each value is beside it in `trainer.config`."""

RETRAINING = TrainConfig(FitConfig(samples=512))
"""A retraining is repeated every day or every hour: 512 negatives lose .001 to .008 of Recall@20 and train 1.5 times as
fast."""

PUBLISHED = TrainConfig(FitConfig(batch_size=32, learning_rate=0.2))
"""What others compare with. DEFAULT has larger batches, which are faster, and a lower rate, which is better."""

_PAPER = TrainConfig(
    FitConfig(
        samples=0,  # the other sessions of the mini-batch were the only negatives
        logq=0.0,  # a correction of 2023
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
"""The best settings that Hidasi et al. (ICLR 2016) found for each loss on RSC15, with 100 units: docs/paper.md has what
became of the findings."""
