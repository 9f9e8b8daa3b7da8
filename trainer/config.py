"""What a training run can be told: names, types, ranges, defaults and help of its options stand here once.

`trainer.options` lists the fields that have a `Help`: `nextclick train` takes a parameter for each, and TOML files have
the same names, see `trainer.settings_file`. Light to import: the command line shows them in its help.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from schemas.settings import Settings

NetworkName = Literal["gru4rec", "narm", "stamp", "sasrec"]
NeighboursName = Literal["vs-knn", "stan"]
FamilyName = Literal[NetworkName, NeighboursName, "blend"]
NETWORKS: tuple[str, ...] = get_args(NetworkName)
NEIGHBOURS: tuple[str, ...] = get_args(NeighboursName)
BLEND = "blend"


@dataclass(frozen=True)
class Help:
    """Makes a field an option of `train`.

    Attributes:
        text: its line in the help.
        low: the command line's lower end where the range is open: typer knows closed ranges only.
        high: the same of the upper end.
        used_with: another option, and its values with which alone this one is used.
        families: those whose trainings use the option; a blend uses those of its two parts.
    """

    text: str
    low: float | None = None
    high: float | None = None
    used_with: tuple[str, tuple[str, ...]] | None = None
    families: tuple[str, ...] = NETWORKS


Count = Annotated[int, Field(ge=1)]
CountFrom0 = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0)]
Strength = Annotated[float, Field(ge=0)]

Loss = Literal["cross-entropy", "bpr", "top1", "bpr-max", "top1-max", "binary-cross-entropy"]
Optimizer = Literal["adagrad", "rmsprop", "adam"]
Order = Literal["time", "length", "random"]
Input = Literal["shared", "embedding", "one-hot"]
Reset = Literal["after", "before"]

_BPR_MAX = ("loss", ("bpr-max",))
_CROSS_ENTROPY = ("loss", ("cross-entropy",))
_WITH_MOMENTUM = ("optimizer", ("adagrad", "rmsprop"))
_ALL = (*NETWORKS, *NEIGHBOURS, BLEND)


@dataclass(frozen=True)
class FitConfig:
    """Options of a fit. Their ranges are checked where options are read.

    The defaults were chosen on the newest tenth of the training sessions, see docs/training.md.
    """

    loss: Annotated[Loss, Help("Training loss.")] = "cross-entropy"
    # Twice as fast as 32 and, at the same learning rate, as good.
    batch_size: Annotated[Count, Help("Clicks trained in a step, each of another session with gru4rec.")] = 128
    # Without any, Recall@20 falls by a third.
    samples: Annotated[CountFrom0, Help("Negative samples a step.")] = 2048
    sample_alpha: Annotated[Share, Help("Negatives are drawn by support^alpha.")] = 0.5
    # By how often an item is drawn; cross-entropy only.
    logq: Annotated[Share, Help("How far cross-entropy corrects for the items' popularity.")] = 1.0
    # With many uniform samples; then `logq` is not used.
    top_negatives: Annotated[
        CountFrom0,
        Help("cross-entropy: negatives that count, the highest-scored; 0: all, by logq", used_with=_CROSS_ENTROPY),
    ] = 0
    # How strongly negatives' scores are held near 0.
    bpreg: Annotated[Strength, Help("bpr-max: regularisation of the scores", used_with=_BPR_MAX)] = 1.0
    # Scores below 0 become elu·(e^s − 1); 0 leaves them as they are.
    elu: Annotated[Strength, Help("bpr-max: scores pass ELU with this parameter", used_with=_BPR_MAX)] = 0.5
    optimizer: Annotated[Optimizer, Help("Optimiser.")] = "adagrad"
    # The published .2 costs .007 to .02 of Recall@20.
    learning_rate: Annotated[Rate, Help("Learning rate.", low=1e-9)] = 0.05
    momentum: Annotated[BelowOne, Help("Momentum of adagrad and rmsprop", high=0.999, used_with=_WITH_MOMENTUM)] = 0.2
    dropout_hidden: Annotated[BelowOne, Help("Share of a layer's output that is dropped.", high=0.99)] = 0.4
    # Not of the same row's use in the output.
    dropout_embedding: Annotated[BelowOne, Help("Share of the input embedding that is dropped.", high=0.99)] = 0.0
    order: Annotated[Order, Help("In which an epoch takes the sessions; length: longest first.")] = "time"
    epochs: Annotated[Count, Help("Passes over the clicks.")] = 10
    seed: Annotated[int, Field(ge=0, lt=2**63), Help("Of everything that is random.", families=_ALL)] = 0


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training: the fit, the network's shape, the filters of the clicks, and the device."""

    fit: FitConfig = field(default_factory=FitConfig)
    family: Annotated[
        FamilyName, Help("Family of the model; the defaults shown here are those of gru4rec.", families=_ALL)
    ] = "gru4rec"
    network: Annotated[NetworkName, Help("blend: family of its network", families=(BLEND,))] = "gru4rec"
    neighbours: Annotated[NeighboursName, Help("blend: family of its neighbours", families=(BLEND,))] = "stan"
    input: Annotated[
        Input, Help("A clicked item enters by its output row, its own embedding, or one-hot", families=("gru4rec",))
    ] = "shared"
    hidden: Annotated[Count, Help("Hidden units of a layer, and numbers of an item's vector.")] = 100
    layers: Annotated[Count, Help("GRU layers, or attention blocks", families=("gru4rec", "sasrec"))] = 1
    reset: Annotated[
        Reset,
        Help(
            "The reset gate acts after the recurrent product, or before it as in the 2016 paper", families=("gru4rec",)
        ),
    ] = "after"
    heads: Annotated[Count, Help("sasrec: attention heads of a block", families=("sasrec",))] = 1
    window: Annotated[
        Count,
        Help(
            "All but gru4rec: last clicks of a session that are read, 50 with vs-knn and stan (alone or beside "
            "gru4rec)",
            families=("narm", "stamp", "sasrec", *NEIGHBOURS),
        ),
    ] = 20
    k: Annotated[Count, Help("vs-knn, stan: neighbours, the most similar sessions", families=NEIGHBOURS)] = 500
    newest: Annotated[
        Count, Help("vs-knn, stan: candidates, the newest sessions that share an item", families=NEIGHBOURS)
    ] = 2500
    position_decay: Annotated[
        Rate, Help("stan: clicks after which a click weighs 1/e", low=1e-9, families=("stan",))
    ] = 1.0
    age_decay: Annotated[
        Rate, Help("stan: share of the sessions after which one weighs 1/e", low=1e-9, families=("stan",))
    ] = 1.0
    distance_decay: Annotated[
        Rate, Help("stan: distance in clicks at which a neighbour's item weighs 1/e", low=1e-9, families=("stan",))
    ] = 4.0
    validate: Annotated[
        float,
        Field(ge=0, le=0.9),
        Help(
            "Share of the sessions, the newest, that are not trained on but choose the best epoch; a blend (0.1 by "
            "default) also fits its weight on them, and is then trained on all sessions."
        ),
    ] = 0.0
    min_support: Annotated[Count, Help("Fewest clicks of an item.", families=_ALL)] = 5
    min_length: Annotated[int, Field(ge=2), Help("Fewest clicks of a session.", families=_ALL)] = 2
    device: str = "auto"  # of `train`: NEXTCLICK_DEVICE

    @property
    def parts(self) -> tuple["TrainConfig", ...]:
        """The configs of a blend's network and of its neighbours; of another family the config itself."""
        if self.family != BLEND:
            return (self,)
        return replace(self, family=self.network), replace(self, family=self.neighbours)

    def shape(self, items: int) -> dict[str, Any]:
        """The config of a new model of the family for this number of items; not of a blend, which has `parts`."""
        from rankers.families import family_of

        return {"items": items} | {name: getattr(self, name) for name in family_of(self.family).options}

    @property
    def history(self) -> int:
        """How many of a session's last items the trained model will read, see `rankers.contract.Needs`."""
        return max(int(part.shape(1).get("window", 0)) for part in self.parts)

    def check_validation(self) -> None:
        """Refuse a blend without a validation part.

        Raises:
            SettingsError: `validate` is 0.
        """
        if self.family == BLEND and not self.validate:
            raise SettingsError("validate = 0: a blend fits its weight on the newest sessions: give a share, like 0.1")

    def check_session_history(self, settings: "Settings") -> None:
        """Refuse a model that no worker would serve, before it is trained.

        Raises:
            BundleError: it reads more of a session than is stored.
        """
        from modelregistry.session_history import check_session_history

        check_session_history(self.history, f"{self.family} with window = {self.window}", settings)
