"""The models topic in memory, for tests that need no Kafka."""

from typing_extensions import override

from modelregistry.models_state import Message, ModelsState
from modelregistry.models_topic import ModelsTopic
from schemas.settings import Settings


class MemoryTopic(ModelsTopic):
    """A models topic whose messages are a list; `log` can be shared by several connections."""

    def __init__(self, settings: Settings, log: list[Message] | None = None) -> None:
        super().__init__(settings)
        self.log: list[Message] = [] if log is None else log

    @override
    async def read(self) -> ModelsState:
        self._messages = list(self.log)
        return ModelsState.of(self._settings.model_name, self._messages)

    @override
    async def _send(self, *messages: Message) -> None:
        self.log += messages

    def compact(self) -> None:
        """Keep the newest message of each key, in the order of the offsets, as Kafka does."""
        newest = {key: place for place, (key, _) in enumerate(self.log)}
        self.log[:] = [self.log[place] for place in sorted(newest.values())]
