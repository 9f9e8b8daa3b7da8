"""What a training run can be told, with the defaults. Light to import: the command line shows them in its help."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class FitConfig:
    """How to fit. The defaults were chosen on the newest tenth of training sessions, see docs/training.md."""

    loss: Literal["cross-entropy", "bpr", "top1", "bpr-max", "top1-max"] = "cross-entropy"
    batch_size: int = 128  # lanes; twice as fast as 32 and, at the same learning rate, as good
    samples: int = 2048  # negatives a step; without any, Recall@20 falls by a third
    sample_alpha: float = 0.5  # negatives by support^alpha
    logq: float = 1.0  # correction of the scores for how often an item is drawn; cross-entropy only
    bpreg: float = 1.0  # bpr-max: how strongly negatives' scores are held near 0
    elu: float = 0.5  # bpr-max: scores below 0 become elu·(e^s − 1); 0 leaves them as they are
    optimizer: Literal["adagrad", "rmsprop", "adam"] = "adagrad"
    learning_rate: float = 0.05  # the published .2 costs .016 to .02 of Recall@20 where there are few clicks
    momentum: float = 0.2  # adagrad and rmsprop
    dropout_hidden: float = 0.4  # of a layer's output
    dropout_embedding: float = 0.0  # of the input; not of the same row's use in the output
    order: Literal["time", "length", "random"] = "time"  # in which an epoch takes the sessions
    epochs: int = 10
    seed: int = 0


@dataclass(frozen=True)
class TrainConfig:
    """What to train on and what to train."""

    fit: FitConfig = field(default_factory=FitConfig)
    input: Literal["shared", "embedding", "one-hot"] = "shared"
    hidden: int = 100
    layers: int = 1
    min_support: int = 5
    min_length: int = 2
    device: str = "auto"
