"""How large micro-batches are, and how long each of their stages takes: one observation per batch and stage."""

from collections.abc import Iterator

from prometheus_client.core import Metric

from worker.histogram import Histogram

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the buckets of a stage."""

CLICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 65_536)
"""Upper bounds of the buckets of a batch's size; NEXTCLICK_MAX_BATCH is at most the last one."""


class BatchStages:
    """The histograms of one worker, in the order in which a batch passes the stages.

    Attributes:
        clicks: clicks of a batch.
        wait: from the fetch of its oldest click until the batch is taken.
        step: new hidden states; on a GPU, until the step is queued.
        score: the best items of all its clicks.
        produce: until the broker has acknowledged answers and rejected messages.
        changelog: until the broker has acknowledged the new states.
        store: until RocksDB has the new states.
    """

    def __init__(self) -> None:
        def stage(name: str, meaning: str) -> Histogram:
            return Histogram(f"nextclick_{name}_seconds", meaning, SECONDS)

        self.clicks = Histogram("nextclick_batch_clicks", "Clicks of one micro-batch", CLICKS)
        self.wait = stage("wait", "From the fetch of a batch's oldest click until the batch was taken")
        self.step = stage("step", "New hidden states for the clicks of a batch, of model and shadow")
        self.score = stage("score", "The best items for the clicks of a batch, of model and shadow")
        self.produce = stage("produce", "Until the answers and rejected messages of a batch were acknowledged")
        self.changelog = stage("changelog", "Until the changelog acknowledged the session states of a batch")
        self.store = stage("store", "Until RocksDB had the session states of a batch")

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        for histogram in (
            self.clicks, self.wait, self.step, self.score, self.produce, self.changelog, self.store
        ):  # fmt: skip
            yield from histogram.collect()
