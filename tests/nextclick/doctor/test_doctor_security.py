"""`nextclick doctor` on a secured Kafka: wrong password, untrusted certificate, and each missing permission."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics
from nextclick.broker import LocalBroker, Security
from nextclick.doctor.finding import Level
from nextclick.doctor.roles import Role, groups, topic_operations
from schemas.settings import Settings
from tests.nextclick.doctor.examined import bad, findings, the
from tests.secured import allow

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.xdist_group("secured broker")]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    security = Security(tls=True, sasl="scram", acl=True, users=("limited",))
    with LocalBroker(data=tmp_path_factory.mktemp("kafka"), security=security) as broker:
        yield broker


def as_user(broker: LocalBroker, user: str, directory: Path, **changes: Any) -> Settings:
    given = {
        "broker": broker.address, "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": user, "sasl_password": broker.users[user], "ssl_cafile": str(broker.ca_file),
        "partitions": 1, "data_dir": directory / "data", "models_uri": str(directory / "models"),
    }  # fmt: skip
    return Settings(_env_file=None, **given | changes)


def test_a_wrong_password_is_named_and_not_shown(broker: LocalBroker, tmp_path: Path) -> None:
    found = findings(as_user(broker, "limited", tmp_path, sasl_password="not-the-word"))
    security = the(found, "security")
    assert security.level is Level.ERROR
    assert "refuses user 'limited' by SCRAM-SHA-512" in security.meaning
    assert "check NEXTCLICK_SASL_USERNAME and NEXTCLICK_SASL_PASSWORD" in security.way_out
    assert "not-the-word" not in str(found)
    assert the(found, "topics").level is Level.NOT_CHECKED


def test_an_untrusted_certificate_is_named(broker: LocalBroker, tmp_path: Path) -> None:
    security = the(findings(as_user(broker, "limited", tmp_path, ssl_cafile=None)), "security")
    assert security.level is Level.ERROR
    assert "is not accepted" in security.meaning
    assert "set NEXTCLICK_SSL_CAFILE" in security.way_out


async def test_each_missing_permission_is_named_with_the_command(broker: LocalBroker, tmp_path: Path) -> None:
    root, limited = as_user(broker, "admin", tmp_path), as_user(broker, "limited", tmp_path)
    async with admin(root) as client:
        await create_topics(client, topic_contracts(root))
        denied = bad(await asyncio.to_thread(findings, limited, Role.PRODUCER))
        lacking = [finding for finding in denied if finding.check == "permissions"]
        assert [finding.level for finding in lacking] == [Level.ERROR]
        assert "lacks Write on topic 'clicks', which is needed as producer" in lacking[0].meaning
        assert "--allow-principal User:limited --operation Write --topic clicks" in lacking[0].way_out

        for topic, operations in topic_operations(limited, [Role.WORKER]).items():
            await allow(client, "limited", [each.lower() for each in operations], "topic", topic)
        denied = bad(await asyncio.to_thread(findings, limited, Role.WORKER))
        lacking = [finding for finding in denied if finding.check == "permissions"]
        assert ["lacks Read on group 'nextclick'" in finding.meaning for finding in lacking] == [True]

        for group in groups(limited, [Role.WORKER]):
            await allow(client, "limited", ["read"], "group", group)
        found = await asyncio.to_thread(findings, limited, Role.WORKER)
        assert the(found, "permissions").level is Level.OK
        assert {finding.check for finding in found if finding.level is Level.ERROR} == set()
        assert "may not be described by this client" in str(found)
        assert the(found, "clock").level is Level.NOT_CHECKED

        await allow(client, "limited", ["describe"], "cluster", "kafka-cluster")
        found = await asyncio.to_thread(findings, limited, Role.WORKER)
        assert the(found, "clock").level is Level.OK
