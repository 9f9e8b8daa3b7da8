"""An event loop in its own thread, for Kafka clients that must keep running while the calling thread computes.

with LoopThread("registry") as loop:
    topic = loop.enter(ModelsTopic(settings))
    train()                                  # for hours; heartbeats are sent meanwhile
    state = loop.run(topic.read())
"""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

Result = TypeVar("Result")


class LoopThread:
    """Runs coroutines for a thread that has no event loop. At the end it exits the entered contexts, in reverse order.

    Args:
        name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._entered = AsyncExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.run(self._entered.aclose())
            self.run(_end_others())  # what an interruption has left, such as a client that was being started
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def enter(self, context: AbstractAsyncContextManager[Result]) -> Result:
        """Enter an asynchronous context; it is exited when the `with` block of this object ends."""
        return self.run(self._entered.enter_async_context(context))

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the loop and wait for its result. If the wait is interrupted, the work is cancelled."""
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            raise


async def _end_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        if not task.cancelling():  # else it is ending already
            task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
