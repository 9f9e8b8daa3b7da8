"""The models topic for tests that are not asynchronous: each call opens a connection of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from modelregistry import models_topic, publishing
from modelregistry import rollback as rolling_back
from modelregistry.models_state import ModelsState
from modelregistry.models_topic import ModelsTopic
from schemas.announcement import ModelAnnouncement
from schemas.decision import Decision
from schemas.settings import Settings

Result = TypeVar("Result")


def models_state(settings: Settings) -> ModelsState:
    return asyncio.run(models_topic.models_state(settings))


def decisions(settings: Settings) -> list[Decision]:
    return models_state(settings).decisions()


def promote(version: str, settings: Settings) -> ModelAnnouncement:
    return on_topic(settings, lambda topic: publishing.promote(version, topic, settings))


def rollback(settings: Settings, to: str | None = None) -> ModelAnnouncement:
    return on_topic(settings, lambda topic: rolling_back.rollback(topic, settings, to))


def on_topic(settings: Settings, use: Callable[[ModelsTopic], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with ModelsTopic(settings) as topic:
            return await use(topic)

    return asyncio.run(run())
