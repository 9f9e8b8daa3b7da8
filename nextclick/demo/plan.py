"""How large the demo is, and how its models are trained."""

from dataclasses import dataclass, field

from nextclick.shop import ShopConfig


@dataclass(frozen=True)
class DemoPlan:
    """The sizes of one run; the defaults take about two minutes on 2 cores, `QUICK` less than one."""

    shop: ShopConfig = field(default_factory=ShopConfig)
    sessions: int = 15_000  # per day: 82,000 clicks, enough to beat methods that see the last click only
    rate: float = 800.0  # live clicks per second: a small load for a worker; the second day lasts for 100 seconds
    judged: int = 12_000  # clicks that a model answers before the next step: its Recall is then known to ± 0.005
    partitions: int = 4  # of each topic; one worker serves all of them
    # Options of `nextclick train`: its defaults are for 100 times as many clicks.
    training: tuple[str, ...] = (
        "--learning-rate", "0.1", "--batch-size", "128", "--samples", "512", "--dropout-hidden", "0.2", "--epochs", "5",
    )  # fmt: skip
    # Shares of the second day's clicks that may be sent until the first model is announced, until it serves, until the
    # second is announced, until it serves. On a slow machine the flow then slows down and does not run out of clicks.
    shares: tuple[float, float, float, float] = (0.3, 0.4, 0.75, 0.85)
    seed: int = 0


QUICK = DemoPlan(
    shop=ShopConfig(items=200, values=8),  # few items, so that few clicks are enough to learn them
    sessions=3_000,
    rate=500.0,
    judged=2_000,
)
