"""How large the demo is, and how its models are trained."""

from dataclasses import dataclass, field

from nextclick.shop import ShopConfig


@dataclass(frozen=True)
class Plan:
    """The sizes of one run; the defaults take about two minutes on 2 cores, `QUICK` half a minute."""

    shop: ShopConfig = field(default_factory=ShopConfig)
    sessions: int = 20_000  # a day; 110,000 clicks, from which a model learns twice what the last click alone tells
    rate: float = 800.0  # live clicks per second: a small load for a worker, and 80 seconds of it fit into a day
    first_model_seconds: float = 20.0  # that the first model serves before the next is trained: ± 0.004 of its Recall
    second_model_seconds: float = 20.0
    partitions: int = 4  # of the topics; one worker serves all of them
    # Of `nextclick train`: the published defaults are for 100 times as many clicks.
    training: tuple[str, ...] = (
        "--learning-rate", "0.1", "--batch-size", "128", "--samples", "512", "--dropout-hidden", "0.2", "--epochs", "5",
    )  # fmt: skip
    before_first_model: float = 0.35  # share of the second day that may be sent until the first model is announced
    before_second_model: float = 0.8  # the rest is kept for the second model, however long its training takes
    seed: int = 0


QUICK = Plan(
    shop=ShopConfig(items=200, values=8),  # few items are learnt from few clicks
    sessions=3_000,
    rate=500.0,
    first_model_seconds=4.0,
    second_model_seconds=4.0,
)
