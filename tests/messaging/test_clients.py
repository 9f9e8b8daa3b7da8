"""How clients of Kafka are closed."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from messaging.clients import stop


class Client:
    """A consumer whose stop ends with an error; it is also its own connection."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.closed, self.stopping = False, asyncio.Event()
        self._error, self._client = error, self

    async def stop(self) -> None:
        self.stopping.set()
        if self._error is None:
            await asyncio.sleep(60)
        else:
            raise self._error

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("error", [KafkaConnectionError("away"), OSError("away")])
async def test_a_broker_that_is_away_does_not_matter(error: Exception) -> None:
    await stop(Client(error))


async def test_a_fetch_that_the_client_itself_cancels_cancels_nobody_else() -> None:
    client = Client(asyncio.CancelledError())
    await stop(client)
    assert client.closed


async def test_a_caller_that_is_cancelled_is_cancelled() -> None:
    client: Any = Client()
    caller = asyncio.create_task(stop(client))
    await client.stopping.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
