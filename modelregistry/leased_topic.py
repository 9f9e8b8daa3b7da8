"""The models topic and the lease on a model name, for a program that computes while both stay connected."""

import contextlib
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from messaging.loop_thread import LoopThread
from modelregistry.lease import Lease, Work
from modelregistry.models_topic import ModelsTopic
from schemas.settings import Settings

Result = TypeVar("Result")


@dataclass(frozen=True)
class LeasedTopic:
    """Topic and lease, both entered. Their event loop runs in a separate thread.

    Attributes:
        topic: the models topic.
        lease: on the model name.
        loop: the event loop of both.
    """

    topic: ModelsTopic
    lease: Lease
    loop: LoopThread

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine of `topic` or `lease`, and wait for its result."""
        return self.loop.run(work)


@contextlib.contextmanager
def lease_topic(settings: Settings, what: Work = "retrain") -> Iterator[LeasedTopic]:
    """Connect to the models topic, and hold the lease for this work while the block runs.

    Raises:
        BrokerError: no broker answers.
        TopicError: the models topic or the clicks topic is missing, or has another partition count.
        TrainingError: another process does this work for the model name.
    """
    with LoopThread("registry") as loop:
        topic = loop.enter(ModelsTopic(settings, settings.clicks_topic))
        lease = loop.enter(Lease(settings, what))
        yield LeasedTopic(topic, lease, loop)
