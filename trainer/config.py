"""The options of a training and their defaults. Imports little, because the command line shows them in its help."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

if TYPE_CHECKING:
    from rankers.recurrent import NetworkConfig

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0)]
Strength = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class FitConfig:
    """Options of a fit. Their ranges are checked where options are read.

    The defaults were chosen on the newest tenth of the training sessions, see docs/training.md.
    """

    loss: Literal["cross-entropy", "bpr", "top1", "bpr-max", "top1-max"] = "cross-entropy"
    batch_size: Count = 128  # lanes; twice as fast as 32, and as good at the same learning rate
    samples: Annotated[int, Field(ge=0)] = 2048  # negatives per step; without them Recall@20 falls by a third
    sample_alpha: Share = 0.5  # negatives are drawn with P ∝ support^alpha
    logq: Share = 1.0  # correction of the scores for how often an item is drawn; cross-entropy only
    bpreg: Strength = 1.0  # bpr-max: how strongly the negatives' scores are pulled towards 0
    elu: Strength = 0.5  # bpr-max: scores below 0 become elu·(e^s − 1); 0 leaves them unchanged
    optimizer: Literal["adagrad", "rmsprop", "adam"] = "adagrad"
    learning_rate: Rate = 0.05  # the published .2 costs .007 to .02 of Recall@20
    momentum: Dropout = 0.2  # adagrad and rmsprop
    dropout_hidden: Dropout = 0.4  # of a layer's output
    dropout_embedding: Dropout = 0.0  # of the input; an item's output row is never dropped
    order: Literal["time", "length", "random"] = "time"  # of the sessions in an epoch
    epochs: Count = 10
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training: the fit, the network's shape, the filters of the clicks, and the device."""

    fit: FitConfig = field(default_factory=FitConfig)
    input: Literal["shared", "embedding", "one-hot"] = "shared"
    hidden: Count = 100
    layers: Count = 1
    reset: Literal["after", "before"] = "after"  # reset gate: after or before the recurrent product; 2016 paper: before
    min_support: Count = 5
    min_length: Annotated[int, Field(ge=2)] = 2
    device: str = "auto"

    def shape(self, items: int) -> "NetworkConfig":
        """The shape of the network for this number of items."""
        from rankers.recurrent import NetworkConfig

        return NetworkConfig(items, self.hidden, self.layers, self.input, self.reset)
