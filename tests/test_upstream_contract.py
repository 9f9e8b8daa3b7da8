"""Undocumented names of other packages that we depend on are unchanged: Faust, mode, aiokafka, numba, torch.

No broker is needed. A failing check says what the name is used for and in which of our files. Read the new version
of the package, adapt that file if needed, then correct the row in `upstream_names.py`.
"""

import contextlib
import hashlib
import importlib.metadata
import inspect
import textwrap
import tomllib
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from upstream_names import CHECKED_WITH, DISTRIBUTIONS, ROWS, Row
from upstream_uses import ROOT, Use, look_up, sources, uses

MISSING = object()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_name_is_as_we_know_it(row: Row) -> None:
    value = await find(row)
    assert value is not MISSING, f"{row.name} does not exist any more. {advice(row)}"
    assert described(value) == row.expected, (
        f"{row.name} was {row.expected} and is {described(value)} now. {advice(row)}"
    )
    if row.digest:
        assert digest(value) == row.digest, (
            f"the code of {row.name} has changed, its digest is {digest(value)} now: compare it with ours. "
            + advice(row)
        )


def test_every_name_we_build_on_has_a_row() -> None:
    missing = {
        f"{use.where}: {'.'.join([use.owners[0].__name__, use.name] if use.owners else [use.name])}"
        for use in uses()
        if not any(covers(row, use) for row in ROWS)
    }
    assert not missing, (
        "these are no documented names of another package, or names of a base class: choose other names, or add a row "
        "to upstream_names.py for each:\n" + "\n".join(sorted(missing))
    )


def test_every_row_is_of_use() -> None:
    unused = [row.name for row in ROWS if not files_of(row)]
    assert not unused, f"no code of ours uses these any more, remove the rows: {', '.join(unused)}"


@pytest.mark.parametrize("name", CHECKED_WITH)
def test_package_is_kept_below_the_first_version_that_nobody_has_checked(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {canonicalize_name(each.name): each.specifier for each in map(Requirement, project["dependencies"])}[name]
    assert any(bound.operator in ("<", "<=", "==", "~=") for bound in wanted), (
        f"{name} needs an upper bound in pyproject.toml: we use its internals"
    )
    for version in (CHECKED_WITH[name], importlib.metadata.version(name)):
        assert version in wanted, f"{name} {version} is not what pyproject.toml asks for ({wanted})"


def test_int8_products_are_whole_numbers_of_32_bits() -> None:
    import torch

    rows, columns = torch.tensor([[127, -127]], dtype=torch.int8), torch.tensor([[63], [-63]], dtype=torch.int8)
    product = torch._int_mm(rows, columns)
    assert product.dtype == torch.int32
    assert product.tolist() == [[2 * 127 * 63]]


def covers(row: Row, use: Use) -> bool:
    """Whether a row is about a name that our code uses."""
    owner, _, attribute = row.name.rpartition(".")
    if use.owners is not None:
        return attribute == use.name and look_up(owner) in use.owners
    if "." not in use.name:
        return attribute == use.name
    return f"{row.name}.".startswith(f"{use.name}.") or f"{use.name}.".startswith(f"{row.name}.")


@cache
def files_of(row: Row) -> list[str]:
    """The files of ours that depend on a name."""
    identifier = row.ours or [part for part in row.name.split(".") if not part.startswith("__")][-1]
    exact = {
        use.file
        for use in uses()
        if not row.ours and covers(row, use) and not row.name.startswith(f"{use.name}.")  # not only its module
    }
    return sorted(exact) or [source.file for source in sources() if identifier in source.identifiers]


def advice(row: Row) -> str:
    """What a developer must know after upgrading a package."""
    package = DISTRIBUTIONS.get(row.name.partition(".")[0], row.name.partition(".")[0])
    return (
        f"{row.use} Look at {row.ours or row.name.rpartition('.')[2]} in {', '.join(files_of(row))}. "
        f"(Checked with {package} {CHECKED_WITH[package]}; installed is {importlib.metadata.version(package)}.)"
    )


async def find(row: Row) -> Any:
    """The object that a row names, on the class or else on an instance of it; MISSING if there is none."""
    owner, _, attribute = row.name.rpartition(".")
    value = look_up(row.name)
    if value is not None:
        return value
    async with made(owner) as sample:
        return getattr(sample, attribute, MISSING)


@contextlib.asynccontextmanager
async def made(owner: str) -> AsyncIterator[object]:
    """An instance of a class, without a connection."""
    match owner:
        case "faust.transport.drivers.aiokafka.Consumer":
            yield app().consumer
        case "faust.transport.drivers.aiokafka.AIOKafkaConsumerThread":
            yield app().transport.Consumer._new_consumer_thread(app().consumer)
        case "faust.tables.manager.TableManager":
            yield type(app().tables)(app())
        case "faust.tables.recovery.Recovery":
            yield app().tables.recovery
        case "faust.stores.rocksdb.Store":
            yield app().tables["table"].data
        case "faust.assignor.partition_assignor.PartitionAssignor":
            yield app().assignor
        case "aiokafka.protocol.api.RequestStruct":
            from aiokafka.protocol.metadata import MetadataRequest_v5

            yield MetadataRequest_v5([], False)
        case "faust.Worker":
            import faust

            yield faust.Worker(app())
        case "faust.app.BootStrategy":
            yield app().boot_strategy
        case "faust.transport.drivers.aiokafka.Producer":
            yield app().producer
        case "aiokafka.client.AIOKafkaClient":
            from aiokafka.client import AIOKafkaClient

            yield AIOKafkaClient(bootstrap_servers="127.0.0.1:9")
        case "aiokafka.conn.AIOKafkaConnection":
            from aiokafka.conn import AIOKafkaConnection

            yield AIOKafkaConnection("127.0.0.1", 9)
        case "aiokafka.AIOKafkaConsumer":
            from aiokafka import AIOKafkaConsumer

            consumer = AIOKafkaConsumer(bootstrap_servers="127.0.0.1:9")
            try:
                yield consumer
            finally:
                await consumer.stop()
        case "aiokafka.consumer.group_coordinator.GroupCoordinator":
            from aiokafka.client import AIOKafkaClient
            from aiokafka.consumer.group_coordinator import GroupCoordinator
            from aiokafka.consumer.subscription_state import SubscriptionState

            coordinator = GroupCoordinator(AIOKafkaClient(bootstrap_servers="127.0.0.1:9"), SubscriptionState())
            try:
                yield coordinator
            finally:
                await coordinator.close()
        case "aiokafka.consumer.fetcher.Fetcher":
            from aiokafka.client import AIOKafkaClient
            from aiokafka.consumer.fetcher import Fetcher
            from aiokafka.consumer.subscription_state import SubscriptionState

            fetcher = Fetcher(AIOKafkaClient(bootstrap_servers="127.0.0.1:9"), SubscriptionState())
            try:
                yield fetcher
            finally:
                await fetcher.close()
        case "aiokafka.consumer.fetcher.PartitionRecords":
            from aiokafka import TopicPartition
            from aiokafka.consumer.fetcher import PartitionRecords
            from aiokafka.record import MemoryRecords

            yield PartitionRecords(TopicPartition("t", 0), MemoryRecords(b""), [], 0, None, None, True, 0)
        case _:
            yield None


@cache
def app() -> Any:
    """A Faust app that is never started."""
    import faust

    app = faust.App("upstream", broker="kafka://127.0.0.1:9", store="rocksdb://?driver=rocksdict", web_enabled=False)
    app.Table("table", partitions=1)
    app.finalize()
    return app


def described(value: Any) -> str:
    """In the notation of the rows: parameters without annotations, or else the kind of object."""
    kinds = {property: "property", type: "class"}
    for kind, name in kinds.items():
        if isinstance(value, kind):
            return name
    prefix, function = ("task ", value.fun) if type(value).__name__ == "ServiceTask" else ("", value)
    try:
        signature = inspect.signature(inspect.unwrap(function)) if inspect.isroutine(function) else None
    except ValueError:  # a function in C
        signature = None
    if signature is None:
        return type(value).__name__
    if inspect.iscoroutinefunction(inspect.unwrap(function)):
        prefix += "async "
    bare = [
        parameter.replace(annotation=parameter.empty, default=_readable(parameter.default))
        for parameter in signature.parameters.values()
    ]
    return f"{prefix}{inspect.Signature(bare)}"


def digest(value: Any) -> str:
    """The first eight digits of the SHA-256 of the source."""
    code = value.fget if isinstance(value, property) else getattr(value, "fun", value)
    return hashlib.sha256(textwrap.dedent(inspect.getsource(inspect.unwrap(code))).encode()).hexdigest()[:8]


class _Ellipsis:
    def __repr__(self) -> str:
        return "…"


def _readable(default: object) -> object:
    plain = default is inspect.Parameter.empty or isinstance(default, type(None) | bool | int | float | str | bytes)
    return default if plain else _Ellipsis()
