"""The models topic together with the lease on a model name, for a program that computes in the meantime."""

import contextlib
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from messaging.loop_thread import LoopThread
from modelregistry.lease import Lease
from modelregistry.models_topic import ModelsTopic
from schemas.settings import Settings

Result = TypeVar("Result")


@dataclass(frozen=True)
class LeasedTopic:
    """Both are entered, and live on an event loop in a thread of its own.

    Attributes:
        topic: the models topic.
        lease: on the model name.
        loop: of both.
    """

    topic: ModelsTopic
    lease: Lease
    loop: LoopThread

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run what `topic` and `lease` offer, and wait for its result."""
        return self.loop.run(work)


@contextlib.contextmanager
def lease_topic(settings: Settings) -> Iterator[LeasedTopic]:
    """Connect to the models topic, and hold the lease for retraining while the block runs.

    Raises:
        BrokerError: no broker answers.
        TopicError: the models topic or the clicks topic is missing, or has another partition count.
        TrainingError: another retraining of this name is under way.
    """
    with LoopThread("registry") as loop:
        topic = loop.enter(ModelsTopic(settings, settings.clicks_topic))
        lease = loop.enter(Lease(settings))
        yield LeasedTopic(topic, lease, loop)
