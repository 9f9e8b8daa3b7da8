"""A real Kafka for the tests: NEXTCLICK_TEST_BROKER, else a container where a Docker engine answers, else our own."""

import asyncio
import errno
import fcntl
import hashlib
import os
import random
import socket
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics
from nextclick.broker import LocalBroker
from schemas.settings import Settings
from tests.alone import AlonePlugin

pytest_plugins = ["tests.command_line", "tests.s3_server"]

PARTITIONS = 4

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".pytest_cache"
LOCKS = CACHE / "locks"

if sys.dont_write_bytecode and not Path(str(pytest.__spec__.cached)).exists():
    # Python writes no bytecode here, and the packages were installed without it. The suite starts hundreds of Python
    # processes, and each would compile torch's sources again, which doubles the CPU time of the import. So bytecode is
    # written, but to this folder and not next to the sources.
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(CACHE / "bytecode")
    sys.dont_write_bytecode = False
    del os.environ["PYTHONDONTWRITEBYTECODE"]

COMPILED = sorted(
    [
        *ROOT.glob("trainer/backends/compiled_cpu/*.py"),
        *ROOT.glob("rankers/scoring/*.py"),
        *ROOT.glob("rankers/neighbours/*.py"),
        ROOT / "rankers" / "blend" / "merge.py",
        ROOT / "rankers" / "compiled.py",
        ROOT / "trainer" / "batches" / "session_parallel.py",
        ROOT / "trainer" / "objective" / "negatives.py",
    ]
)
STATE = hashlib.sha256(b"".join(source.read_bytes() for source in COMPILED)).hexdigest()[:16]
os.environ.setdefault("NUMBA_CACHE_DIR", str(CACHE / "numba" / STATE))
"""Numba misses a change in a function inlined from another file: each state of the sources gets its own cache."""


hypothesis.settings.register_profile("busy machine", deadline=None)
hypothesis.settings.load_profile("busy machine")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(AlonePlugin(LOCKS))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Processes of `-n auto`: cores + 1, because many tests wait; 0 for single files, which are quick.

    At most four: the longest group of tests limits the time, and each process starts a Kafka.
    """
    files = all(Path(argument.split("::")[0]).is_file() for argument in config.args)
    return 0 if files else min((os.cpu_count() or 1) + 1, 4)


@pytest.hookimpl(tryfirst=True)  # before pytest's selection by `-m`
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use the fixture `kafka`; tests that start their own broker have the marker in their file."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.slow)
        if "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The address of a Kafka for the whole test session; the first test that needs it starts it."""
    given = os.environ.get("NEXTCLICK_TEST_BROKER")
    if given:
        yield given
    elif _docker_answers():
        from testcontainers.kafka import KafkaContainer

        with KafkaContainer("confluentinc/cp-kafka:7.6.0").with_kraft() as container:
            yield container.get_bootstrap_server()
    else:
        with LocalBroker() as broker:
            yield broker.address


@pytest.fixture
def bare_settings(kafka: str, tmp_path: Path) -> Settings:
    """Settings with topic names for this test only; the topics do not exist yet."""
    mark = uuid.uuid4().hex[:8]
    return Settings(
        _env_file=None,
        broker=kafka,
        app_id=f"t-{mark}",
        clicks_topic=f"t-{mark}-clicks",
        recommendations_topic=f"t-{mark}-recommendations",
        models_topic=f"t-{mark}-models",
        rejected_topic=f"t-{mark}-rejected",
        partitions=PARTITIONS,
        data_dir=tmp_path / "data",
        models_uri=str(tmp_path / "models"),
    )


@pytest.fixture
def kafka_settings(bare_settings: Settings) -> Settings:
    """Settings with topic names for this test only; the topics exist."""

    async def create() -> None:
        async with admin(bare_settings) as client:
            await create_topics(client, topic_contracts(bare_settings))

    asyncio.run(create())
    return bare_settings


@pytest.fixture(scope="session")
def compiled_scorer() -> None:
    """Put the machine code of all that serving calls into numba's cache, so that no worker compiles at its start."""
    from rankers.compile_ahead import compile_all

    compile_all()


@pytest.fixture(scope="session")
def compiled_kernel() -> None:
    """Put the machine code of the training kernel into numba's cache: compiling can take minutes on a busy machine.

    For tests with a time limit. Only one process compiles; the others wait, and then read the cache.
    """
    import numpy as np

    from clicklog.sessions import Sessions
    from rankers.gru4rec.network import GRU4Rec
    from rankers.recurrent import NetworkConfig
    from trainer.config import FitConfig
    from trainer.fit import fit

    two_sessions = Sessions(np.arange(4), np.array([0, 2, 4]))
    with (LOCKS / "kernel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fit(
            GRU4Rec(NetworkConfig(items=4, hidden=4)),
            two_sessions,
            np.ones(4, dtype=np.int64),
            FitConfig(batch_size=2, samples=2, epochs=1),
        )


@pytest.fixture(scope="session")
def compiled_blend() -> None:
    """Put the machine code of blends, of their search and of the choice of their weight into numba's cache."""
    import numpy as np
    import torch

    from clicklog.items import ItemIndex
    from clicklog.sessions import Sessions
    from rankers.blend.model import Blend
    from rankers.blend.ranker import BlendRanker
    from rankers.families import counted_family_of, family_of, network_family_of
    from trainer.blending.weight import fit_weight

    items = ItemIndex(list(range(30)), np.ones(30, dtype=np.int64))
    sessions = Sessions(np.arange(30), np.arange(0, 31, 3))
    with (LOCKS / "blend.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        network = network_family_of("gru4rec").untrained({"items": 30, "hidden": 4}).requires_grad_(False).eval()
        neighbours = counted_family_of("stan").count({"items": 30}, sessions)
        blend = Blend("gru4rec", network, items.ids, "stan", neighbours, 0.5, 1.0)
        ranker = family_of("blend").ranker(blend, items, torch.device("cpu"), "exact")
        assert isinstance(ranker, BlendRanker)
        ranker.warm_up(2)
        fit_weight(ranker, sessions)


@pytest.fixture
def free_port() -> int:
    """An unused port of 127.0.0.1, below the range from which the system assigns ports."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port


def _docker_answers() -> bool:
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        return False
    try:
        import docker

        client = docker.from_env(timeout=2)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except Exception:  # docker raises various errors if there is no engine
        return False
