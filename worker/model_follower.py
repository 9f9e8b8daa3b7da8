"""Follows the models topic: fetches, checks and loads each announced bundle, then passes it to the pipeline."""

import asyncio
import logging
import shutil
import time
from collections.abc import Callable

import torch
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from messaging.clients import new_consumer, stop
from messaging.daemon_thread import in_daemon_thread
from messaging.topic_identity import topic_identity
from modelregistry.models_state import parse_announcement, serving_key, shadow_key
from modelregistry.models_topic import read_to_end
from modelregistry.session_history import check_session_history
from modelregistry.store import BundleStore
from rankers.bundle import read_bundle
from schemas.announcement import ModelAnnouncement
from schemas.errors import BundleError, one_line
from schemas.settings import Settings
from worker.announced_networks import AnnouncedNetworks
from worker.delivery.outage import Outage
from worker.serving_model import ServingModel, TakenUp

log = logging.getLogger(__name__)

LAST_GOOD = "serving.json"
"""File in the model cache: the announcement of the last model that served, for a restart when the newest one is bad."""

LOOK_MS = 5_000
"""Time between two looks whether the models topic is still the same one."""

UNREAD = "model announcements are not read"


class ModelFollower:
    """Keeps the worker on the last announced model that is valid.

    A bad bundle is refused with one line in the log, and the old model keeps serving. Fetched bundles stay in the data
    directory: a restarted worker does not fetch them again, and serves even if the newest announcement is bad.

    Attributes:
        first_look: set when the last announcement is handled.
        refused: number of announcements and models that were refused.
        networks: of the announced versions.
    """

    def __init__(
        self,
        settings: Settings,
        device: torch.device,
        serve: Callable[[ServingModel], None],
        shadow: Callable[[ServingModel | None], None],
        outage: Outage,
    ) -> None:
        self.first_look = asyncio.Event()
        self.refused = 0
        self.networks = AnnouncedNetworks(settings.model_name)
        self._settings = settings
        self._device = device
        self._serve = serve
        self._shadow = shadow
        self._outage = outage
        self._cache = settings.data_dir.absolute() / "fetched-models"  # by default the registry is at data_dir/models
        self._serving: str | None = None
        self._shadowing: str | None = None
        self._topic_id: str | None = None  # of the models topic, as it was last read

    async def run(self) -> None:
        """Read the whole models topic, then follow it. `first_look` is set when the last announcement is handled.

        Raises:
            BrokerError: the broker refuses to give the topic, and will refuse again.
        """
        partition = TopicPartition(self._settings.models_topic, 0)
        while True:
            client = new_consumer(self._settings, "worker-models")
            try:
                await client.start()
                client.assign([partition])
                await client.seek_to_beginning(partition)
                await self._follow(client, partition)
            except (KafkaError, OSError) as error:
                self._outage.try_again(UNREAD, error, self._settings)
                await asyncio.sleep(1)
            finally:
                await stop(client)

    async def _follow(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        while True:
            last = await self._new_messages(consumer, partition)
            self._outage.worked(UNREAD)
            name = self._settings.model_name
            self.networks.note(last)
            announced = last.get(serving_key(name))
            if announced is not None:
                await self._take_up(announced)
            if shadow_key(name) in last:
                await self._take_up_shadow(last[shadow_key(name)])
            if not self.first_look.is_set():
                if self._serving is None:
                    await self._take_up_last_good()
                self.first_look.set()
            await _wait_for_more(consumer, partition)

    async def _new_messages(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> dict[bytes, bytes | None]:
        """The last message of each key since the last call, or since the topic was created again.

        Without the look at the topic's id, a new topic with as many messages as were read of the old one would pass
        unnoticed.
        """
        identity = await topic_identity(consumer, self._settings.models_topic)
        if identity is None:
            raise UnknownTopicOrPartitionError(
                f"topic {self._settings.models_topic!r} does not exist: create it with `nextclick topics`, then "
                "announce the model by `nextclick models promote`"
            )
        if self._topic_id not in (None, identity.topic_id):
            log.warning(
                "topic %r was created again: reading it from its beginning; until it announces a model, %s serves",
                self._settings.models_topic, self._serving_name(),
            )  # fmt: skip
            await consumer.seek_to_beginning(partition)
        self._topic_id = identity.topic_id
        return dict(await read_to_end(consumer, partition))

    async def _take_up(self, message: bytes) -> None:
        announcement = self._read(message)
        if announcement is None or announcement.sha256 == self._serving:
            return
        model = await self._load_or_refuse(announcement, f"{self._serving_name()} serves on")
        if model is not None:
            self._remember(announcement)
            self._serving = announcement.sha256
            self._serve(model)
            if self._shadowing == self._serving:  # the shadow model serves now
                self._shadowing = None
                self._shadow(None)
            self._tell_ready("model", model)
            self._drop_others()

    def _remember(self, announcement: ModelAnnouncement) -> None:
        """Write the announcement down for the next start; serving itself does not need it."""
        scratch = self._cache / f"{LAST_GOOD}.new"
        try:
            scratch.write_text(announcement.model_dump_json())
            scratch.replace(self._cache / LAST_GOOD)
        except OSError as error:
            log.warning(
                "%s cannot be written (%s): model %s serves, but after a restart without its announcement the one "
                "before it would",
                self._cache / LAST_GOOD, error.strerror, announcement.version,
            )  # fmt: skip

    async def _take_up_shadow(self, message: bytes | None) -> None:
        announcement = None if message is None else self._read(message)
        if message is None or (announcement is not None and announcement.sha256 == self._serving):
            if self._shadowing is not None:
                self._shadowing = None
                self._shadow(None)
                log.info("no shadow model any more")
        elif announcement is not None and announcement.sha256 != self._shadowing:
            model = await self._load_or_refuse(announcement, "no change of the shadow model")
            if model is not None:
                self._shadowing = announcement.sha256
                self._shadow(model)
                self._tell_ready("shadow model", model)
                self._drop_others()

    def _tell_ready(self, what: str, model: ServingModel) -> None:
        items, seconds = len(model.ranker.items), model.taken_up.seconds if model.taken_up else 0.0
        log.info(
            "%s %s is ready: %d items, in %.1f s", what, model.version, items, seconds,
            extra={"model_version": model.version, "items": items, "seconds": round(seconds, 3)},
        )  # fmt: skip

    def _read(self, message: bytes) -> ModelAnnouncement | None:
        try:
            return parse_announcement(message)
        except BundleError as error:
            self.refused += 1
            log.error("announcement refused: %s", error)
            return None

    async def _load_or_refuse(self, announcement: ModelAnnouncement, instead: str) -> ServingModel | None:
        begin = time.monotonic()
        try:
            model = await self._load(announcement)
        except (BundleError, RuntimeError, MemoryError, OSError) as error:  # also: out of memory, disk full
            self.refused += 1
            log.error(
                "model %s refused, %s: %s", announcement.version, instead, one_line(error),
                extra={"model_version": announcement.version},
            )  # fmt: skip
            return None
        span = announcement.trained_on
        newest = None if span is None or span.last is None else span.last / 1000
        seconds = time.monotonic() - begin
        own = announcement.announced_at.timestamp()
        announced_at = self.networks.announced_at(announcement.network_version) or own
        model.taken_up = TakenUp(announced_at, newest, seconds, own if announcement.refresh_of else None)
        return model

    async def _take_up_last_good(self) -> None:
        try:
            message = (self._cache / LAST_GOOD).read_bytes()
        except FileNotFoundError:
            log.info("no model is announced yet: recommending the popular items counted so far")
            return
        log.warning(
            "the models topic has no announcement of model %s that can be served: going on with the model that served "
            "here last; announce one by `nextclick models promote`",
            self._settings.model_name,
        )
        await self._take_up(message)

    async def _load(self, announcement: ModelAnnouncement) -> ServingModel:
        seconds = self._settings.fetch_timeout.total_seconds()
        try:
            return await asyncio.wait_for(in_daemon_thread(lambda: self._load_now(announcement), "fetch"), seconds)
        except TimeoutError:
            raise BundleError(
                f"{announcement.uri} was not fetched within {seconds:g}s (NEXTCLICK_FETCH_TIMEOUT)"
            ) from None

    def _load_now(self, announcement: ModelAnnouncement) -> ServingModel:
        torch.set_num_threads(self._settings.torch_threads)
        directory = self._cache / announcement.sha256
        if not directory.is_dir():
            others = [other for other in self._cache.glob("*") if other.is_dir()]
            BundleStore(self._settings.models_uri).fetch(announcement.uri, directory, others)
        try:
            bundle = read_bundle(directory, announcement.sha256)
        except BundleError:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        if bundle.version != announcement.version:
            raise BundleError(f"{announcement.uri} holds version {bundle.version}, announced is {announcement.version}")
        check_session_history(bundle.needs.history, bundle.version, self._settings)
        model = ServingModel(
            bundle,
            self._device,
            self._settings.scoring,
            details=self._settings.answer_details,
            network_versions=self.networks.network_versions,
        )
        model.ranker.warm_up(self._settings.max_batch)
        return model

    def _serving_name(self) -> str:
        return f"the model before it ({self._serving[:12]}…)" if self._serving else "popularity"

    def _drop_others(self) -> None:
        for directory in self._cache.iterdir():
            if directory.is_dir() and directory.name not in {self._serving, self._shadowing}:
                shutil.rmtree(directory, ignore_errors=True)


async def _wait_for_more(consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
    """Wait for the next message without consuming it, at most until the topic is looked at again."""
    records = (await consumer.getmany(timeout_ms=LOOK_MS, max_records=1)).get(partition)
    if records:
        consumer.seek(partition, records[0].offset)
