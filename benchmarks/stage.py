"""The environment of contestants: a new broker on a free port, topics, a model, a directory; removed at the end."""

import dataclasses
import shutil
import signal
import sys
import tempfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch

from benchmarks.contestants import Contestant, cpu_seconds, running
from clicklog.clicks import Clicks
from clicklog.items import ItemIndex
from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics
from modelregistry.publishing import publish_bundle
from nextclick.broker import LocalBroker, Security
from rankers.bundle import Bundle, new_version, read_bundle, write_bundle
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from schemas.announcement import ModelAnnouncement
from schemas.settings import Settings, load_settings
from trainer.config import FitConfig, TrainConfig
from trainer.train import train

QUICK = FitConfig(epochs=1, batch_size=128, samples=512, learning_rate=0.05)
"""Serving speed does not depend on the quality of the model."""


class Stage:
    """A broker and a temporary directory.

    Args:
        security: how clients must log in to the broker; by default they need not.

    Example:
        >>> with Stage() as stage:
        ...     settings = stage.settings(app_id="one")
        ...     await stage.create_topics(settings)
        ...     with stage.running("worker", settings) as worker: ...
    """

    def __init__(self, security: Security | None = None) -> None:
        self._security = security
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with self._stack:
            self._scratch = Path(tempfile.mkdtemp(prefix="nextclick-benchmark-"))
            self._stack.callback(shutil.rmtree, self._scratch, ignore_errors=True)
            self._broker = self._stack.enter_context(LocalBroker(security=self._security))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def settings(self, **options: str) -> Settings:
        """Settings on this broker and models URI; `options` are written as in the environment."""
        return load_settings(**self._options(**options))

    def running(self, name: str, **options: str) -> AbstractContextManager[Contestant]:
        """Run a contestant with these settings, see `benchmarks.contestants`."""
        directory = self._scratch / f"{name}-{options['app_id']}"
        return running(name, self._options(**options), directory)

    def topic_bytes(self, topic: str) -> int:
        """Size of a topic's log files: all batches of records, as they were sent over the network."""
        return sum(file.stat().st_size for file in self._broker.directory.rglob(f"{topic}-*/*.log"))

    def store_bytes(self, name: str, app_id: str) -> int:
        """Size of RocksDB's files of a contestant that has ended."""
        return sum(file.stat().st_size for file in (self._scratch / f"{name}-{app_id}").rglob("*.sst"))

    def broker_cpu_seconds(self) -> float:
        return cpu_seconds(self._broker.pid)

    async def create_topics(self, settings: Settings) -> None:
        """Create those topics of the settings that do not exist yet."""
        async with admin(settings) as client:
            await create_topics(client, topic_contracts(settings))

    async def publish(self, bundle: Bundle) -> ModelAnnouncement:
        """Put a bundle at the models URI and announce it."""
        directory = self._scratch / "bundles" / bundle.version
        write_bundle(bundle, directory)
        return await publish_bundle(directory, self.settings())

    def _options(self, **options: str) -> dict[str, str]:
        fixed = {
            "broker": self._broker.address,
            "models_uri": str(self._scratch / "models"),
            "data_dir": "data",  # below the contestant's directory
            "session_gap": "36500d",
            "device": "cpu",
        }
        if self._security is not None:
            fixed["kafka_config"] = str(self._broker.client_properties)
        return fixed | options


def model_for(clicks: Clicks, bundle: Path | None, items: int | None) -> Bundle:
    """The model to serve with: one from disk, one with random weights and `items` items, or one quickly trained."""
    torch.set_num_threads(1)
    if bundle is not None:
        return read_bundle(bundle)
    if items is None:
        return train(clicks, TrainConfig(QUICK, device="cpu")).bundle
    known = clicks.frame["item_id"].unique(maintain_order=True).to_list()[:items]
    ids = known + [f"filler-{number}" for number in range(items - len(known))]
    network = GRU4Rec(NetworkConfig(items=items)).eval().requires_grad_(False)
    return Bundle(new_version(), network, ItemIndex(ids, np.ones(items, dtype=np.int64)))


def renamed(bundle: Bundle) -> Bundle:
    """The same model with another version name."""
    return dataclasses.replace(bundle, version=f"{new_version()}-again")
