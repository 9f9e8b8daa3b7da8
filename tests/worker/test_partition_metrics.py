"""The lag that a worker tells: what is not answered and stored, and 0 where nothing is left to answer."""

from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry

from schemas.settings import Settings
from worker.delivery.progress import Progress
from worker.metrics.partitions import PartitionMetrics

CLICKS = TP("clicks", 0)


class App:
    """A worker with one partition, and the thread that fetches it."""

    def __init__(self) -> None:
        self.settings = Settings(_env_file=None)
        self.position, self.end, self.taken = 0, 0, 0
        self.consumer = SimpleNamespace(progress=Progress())
        self.source = SimpleNamespace(reading=lambda: {0: (None, self.taken)})
        self.sessions = SimpleNamespace(data=SimpleNamespace(partitions=list))

    def partitions(self) -> list[int]:
        return [0]

    def click_partitions(self) -> list[TP]:
        return [CLICKS]

    def consumer_thread(self) -> Any:
        return SimpleNamespace(position_of=lambda _: self.position, last_end_of=lambda _: self.end)

    def told(self) -> tuple[float | None, float | None]:
        """Lag of the partition, and clicks in the queue."""
        registry = CollectorRegistry()
        registry.register(PartitionMetrics(self, SimpleNamespace(under_way=0)))  # type: ignore[arg-type]
        lag = registry.get_sample_value("nextclick_consumer_lag", {"partition": "0"})
        return lag, registry.get_sample_value("nextclick_queued_clicks")


@pytest.fixture
def app() -> App:
    return App()


def test_the_lag_is_missing_until_it_is_known_where_reading_begins(app: App) -> None:
    app.end = 100
    assert app.told()[0] is None


def test_clicks_that_are_not_fetched_or_not_stored_wait(app: App) -> None:
    app.consumer.progress.stored(CLICKS, 10)
    app.position, app.end, app.taken = 60, 100, 25
    app.consumer.progress.fetched(CLICKS, 60)
    assert app.told() == (90, 35)
    app.position = 100  # fetched to the end, and not answered
    app.consumer.progress.fetched(CLICKS, 100)
    assert app.told() == (90, 75)


def test_a_partition_that_ends_in_an_aborted_transaction_has_no_lag(app: App) -> None:
    app.position, app.end, app.taken = 10, 14, 10
    app.consumer.progress.fetched(CLICKS, 10)
    app.consumer.progress.stored(CLICKS, 10)
    assert app.told() == (4, 0)  # not looked at yet
    app.position = 14  # three messages that are not delivered, and a marker
    assert app.told() == (0, 0)
    app.end = 16
    assert app.told() == (6, 0)
