"""A deployment under test: real worker processes, many interleaved sessions, answers read back from Kafka."""

import asyncio
import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from aiokafka import TopicPartition
from pydantic import SecretStr
from threadpoolctl import threadpool_limits

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from messaging.clients import connected, new_consumer, new_producer
from messaging.topic_identity import topic_identity
from modelregistry.publishing import publish_bundle
from rankers.blend.model import Blend
from rankers.bundle import Bundle, read_bundle, write_bundle
from rankers.families import counted_family_of, family_of
from schemas.click import InvalidClickError, decode_click
from schemas.durations import milliseconds
from schemas.settings import PREFIX, Settings
from worker.recommender import PendingClick, Recommender
from worker.serving_model import ServingModel
from worker.session_state import SessionState, new_session, pack, unpack

torch.set_num_threads(1)  # leaves the other cores to the workers under test
threadpool_limits(1)

ROOT = Path(__file__).parents[2]
ITEMS = 300
START = 1_700_000_000_000
"""Time of the first click, ms since 1970."""


def bundle(directory: Path, version: str = "v1", seed: int = 0, family: str = "gru4rec", **shape: Any) -> Path:
    """Write a bundle of an untrained network; the tests only need answers that differ from session to session.

    A blend has an untrained GRU4Rec, and neighbours of random sessions.
    """
    torch.manual_seed(seed)
    network = family_of("gru4rec" if family == "blend" else family).untrained({"items": ITEMS, "hidden": 32, **shape})
    for weight in network.parameters():  # large weights, so that the order of items depends on the whole session
        weight.data.mul_(3)
    items = ItemIndex(list(range(ITEMS)), np.arange(ITEMS, 0, -1))
    model = _blend_of(network, items, seed) if family == "blend" else network
    write_bundle(Bundle(version, model, items, family), directory)
    return directory


def _blend_of(network: Any, items: ItemIndex, seed: int) -> Blend:
    clicks = np.random.default_rng(seed).integers(0, ITEMS, 4000)
    sessions = Sessions(clicks, np.arange(0, len(clicks) + 1, 4))
    neighbours = counted_family_of("stan").count({"items": ITEMS, "k": 20, "newest": 100}, sessions)
    # Both parts change the best 20.
    return Blend("gru4rec", network, items.ids, "stan", neighbours, 0.3, 0.2)


def clicks_of(sessions: int, clicks_each: int, seed: int = 0) -> list[tuple[str, int, int]]:
    """(session, item, time) of sessions that are all open at once: each session's k-th click is in the k-th wave."""
    rng = random.Random(seed)
    wave = [(f"s{seed}-{session}", clicks) for session in range(sessions) for clicks in range(clicks_each)]
    wave.sort(key=lambda click: (click[1], rng.random()))
    return [(session, rng.randrange(ITEMS), START + place * 10) for place, (session, _) in enumerate(wave)]


def health(port: int) -> int:
    """The status of a worker's /health; 0 if it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return 0


@dataclass
class Message:
    """A Kafka record as the test reads it."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.value or b"null")


class WorkerProcess:
    """One `faust -A worker worker` process with its own data directory."""

    def __init__(
        self,
        settings: Settings,
        data: Path,
        module: str,
        environment: dict[str, str],
        web: bool,
        root: Path = ROOT,
        options: Sequence[str] = (),
    ) -> None:
        self.log = data.with_suffix(".log")
        names = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        for field in Settings.model_fields:
            value = getattr(settings, field)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            if value is not None and value != Settings.model_fields[field].default:
                names[PREFIX + field.upper()] = (
                    f"{milliseconds(value)}ms" if hasattr(value, "total_seconds") else str(value)
                )
        names |= {PREFIX + "DATA_DIR": str(data), **environment}
        with self.log.open("a") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", module, "worker", *([] if web else ["--without-web"]), *options],
                env=names,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=root,
            )

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def said(self) -> str:
        return self.log.read_text()


class Deployment:
    """Topics and workers of one test."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self.settings = settings
        self.directory = directory
        self.workers: list[WorkerProcess] = []
        self.bundles: dict[str, Path] = {}

    def start(
        self,
        data: str = "w1",
        module: str = "worker",
        *,
        web: bool = False,
        root: Path = ROOT,
        options: Sequence[str] = (),
        **environment: str,
    ) -> WorkerProcess:
        """Start a worker; `root` is the checkout that it runs from, `options` are of its command line."""
        worker = WorkerProcess(self.settings, self.directory / data, module, environment, web, root, options)
        self.workers.append(worker)
        return worker

    def publish(self, version: str = "v1", seed: int = 0, *, shadow: bool = False, **shape: Any) -> None:
        path = bundle(self.directory / "bundles" / version, version, seed, **shape)
        asyncio.run(publish_bundle(path, self.settings, shadow=shadow))
        self.bundles[version] = path

    def send(self, clicks: Sequence[tuple[str, int, int]], rate: float | None = None) -> None:
        """Produce clicks, in order, at a rate per second."""
        encoded = [
            (session.encode(), msgspec.json.encode({"session_id": session, "item_id": item, "timestamp": moment}))
            for session, item, moment in clicks
        ]
        self.send_raw(encoded, rate)

    def send_raw(self, messages: Sequence[tuple[bytes | None, bytes | None]], rate: float | None = None) -> None:
        async def send() -> None:
            producer = new_producer(self.settings, "test", linger_ms=2, request_timeout_ms=60_000)
            await producer.start()
            begin = time.monotonic()
            for place, (key, value) in enumerate(messages):
                if rate is not None and (ahead := begin + place / rate - time.monotonic()) > 0.01:
                    await asyncio.sleep(ahead)
                await producer.send(self.settings.clicks_topic, value, key=key)
            await producer.stop()

        asyncio.run(send())

    def send_to_changelog(self, partition: int, key: bytes | None, value: bytes) -> None:
        """Produce one state, as a worker would."""

        async def send() -> None:
            producer = new_producer(self.settings, "test")
            await producer.start()
            await producer.send_and_wait(self.settings.changelog_topic, value, key=key, partition=partition)
            await producer.stop()

        asyncio.run(send())

    @contextmanager
    def flowing(self, clicks: Sequence[tuple[str, int, int]], rate: float) -> Iterator[None]:
        """Clicks flow at a rate while the block runs; all of them are sent when it ends."""
        thread = threading.Thread(target=self.send, args=(clicks, rate))
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def read(self, topic: str) -> list[Message]:
        """All of a topic, partition by partition."""

        async def read() -> list[Message]:
            consumer = new_consumer(self.settings, "test", isolation_level="read_uncommitted")
            await consumer.start()
            try:
                partitions = self._partitions(topic)
                consumer.assign(partitions)
                await consumer.seek_to_beginning(*partitions)
                ends = await consumer.end_offsets(partitions)
                found: list[Message] = []
                for partition in partitions:
                    while await consumer.position(partition) < ends[partition]:
                        records = (await consumer.getmany(partition, timeout_ms=500)).get(partition, [])
                        found += [
                            Message(r.partition, r.offset, r.timestamp, r.key, r.value, dict(r.headers))
                            for r in records
                        ]
                return found
            finally:
                await consumer.stop()

        return asyncio.run(read())

    def count(self, topic: str) -> int:
        """Number of records ever produced to a topic."""

        async def count() -> int:
            consumer = new_consumer(self.settings, "test", isolation_level="read_uncommitted")
            await consumer.start()
            try:
                partitions = self._partitions(topic)
                return sum((await consumer.end_offsets(partitions)).values())
            finally:
                await consumer.stop()

        return asyncio.run(count())

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Wait for a condition; the failure message includes the logs of the workers."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {worker.log.name}\n{worker.said[-3000:]}" for worker in self.workers)
                raise AssertionError(f"not within {seconds:g} s: {what}\n{logs}")
            time.sleep(0.2)

    def wait_for_answers(self, clicks: int, seconds: float = 60) -> None:
        """Wait until at least `clicks` recommendations were produced."""
        topic = self.settings.recommendations_topic
        self.wait_until(lambda: self.count(topic) >= clicks, f"{clicks} answers", seconds)

    def wait_until_all_answered(self, seconds: float = 60) -> None:
        """Wait until every click on the topic has an answer or is rejected."""
        self.wait_until(lambda: not self.outcome().missing, "an answer to every click", seconds)

    def _partitions(self, topic: str) -> list[TopicPartition]:
        count = 1 if topic == self.settings.models_topic else self.settings.partitions
        return [TopicPartition(topic, number) for number in range(count)]

    def close(self) -> None:
        for worker in self.workers:
            if worker.alive:
                worker.wake()
                worker.kill()

    def outcome(self) -> "Outcome":
        """Clicks, answers and rejections so far, read from the topics."""
        return Outcome(
            self.read(self.settings.clicks_topic),
            self.read(self.settings.recommendations_topic),
            self.read(self.settings.rejected_topic),
        )

    def states(self) -> dict[bytes, SessionState]:
        """The last state of every session in the changelog."""
        return {
            message.key or b"": unpack(message.value)
            for message in self.read(self.settings.changelog_topic)
            if message.value is not None
        }

    def log(self) -> str:
        """The id of the clicks topic."""

        async def ask() -> str:
            consumer = new_consumer(self.settings, "test")
            async with connected(consumer, self.settings):
                identity = await topic_identity(consumer, self.settings.clicks_topic)
            assert identity is not None
            return identity.topic_id

        return asyncio.run(ask())

    def undisturbed(
        self, begin: dict[bytes, SessionState] | None = None, after: int = 0, version: str | None = None
    ) -> tuple[dict[str, list[Any]], dict[bytes, SessionState]]:
        """Expected answers by id and final states, computed from the clicks topic one click at a time.

        Args:
            begin: states that the sessions go on from, whose offsets count in another log.
            after: only clicks from this Kafka timestamp on, ms since 1970.
            version: the model that answers all of them; None: the only one.
        """
        (path,) = self.bundles.values() if version is None else (self.bundles[version],)
        recommender = Recommender(
            gap_ms=milliseconds(self.settings.session_gap),
            history=self.settings.session_history,
            model=ServingModel(read_bundle(path), torch.device("cpu")),
        )
        latest = round(time.time() * 1000) + milliseconds(self.settings.clock_tolerance)
        answers: dict[str, list[Any]] = {}
        states = dict(begin or {})
        for state in states.values():
            state.offset = -1
        log = self.log()
        for message in self.read(self.settings.clicks_topic):
            if message.timestamp < after:
                continue
            try:
                click = decode_click(message.key, message.value, latest)
            except InvalidClickError:
                continue
            assert message.key is not None
            state = states.setdefault(message.key, new_session(message.partition))
            pending = PendingClick(
                message.partition,
                message.offset,
                message.key,
                click.session_id,
                click.item_id,
                click.timestamp,
                state,
                log=log,
            )
            (answer,) = recommender.recommend([pending], 0).answers
            assert answer is not None
            answers[f"{message.partition}-{message.offset}"] = answer.items
        stored = {key: unpack(pack(state, self.settings.state_format)) for key, state in states.items()}
        return answers, stored


class Outcome:
    """Clicks, answers and rejections of a deployment, matched by id."""

    def __init__(self, clicks: list[Message], answers: list[Message], rejected: list[Message]) -> None:
        self.clicks = {f"{click.partition}-{click.offset}": click for click in clicks}
        self.answers: defaultdict[str, list[Any]] = defaultdict(list)
        for answer in answers:
            self.answers[answer.json["id"]].append(answer.json)
        self.rejected = Counter(f"{m.headers['partition'].decode()}-{m.headers['offset'].decode()}" for m in rejected)

    @property
    def missing(self) -> list[str]:
        """Clicks with neither an answer nor a rejection."""
        return [click for click in self.clicks if click not in self.answers and click not in self.rejected]

    @property
    def duplicates(self) -> int:
        """Answers beyond the first of each click."""
        return sum(len(answers) - 1 for answers in self.answers.values())

    def unequal(self, expected: dict[str, list[Any]]) -> list[str]:
        """Clicks with an answer whose items differ from the expected ones."""
        return [
            click
            for click, items in expected.items()
            if any(answer["items"] != items for answer in self.answers[click])
        ]
