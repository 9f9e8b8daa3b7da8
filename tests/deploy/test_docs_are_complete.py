"""Every command, setting, topic, and check of `nextclick doctor` is in the docs, and the docs name no other command."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from messaging.contracts import topic_contracts
from nextclick.cli import app
from nextclick.doctor.examination import BROKER, OF_THE_CLUSTER, SECURITY
from nextclick.doctor.machine import DEVICE, DISK, VERSIONS
from nextclick.doctor.models import REGISTRY
from nextclick.doctor.roles import Role, groups, topic_operations
from schemas.settings import Settings
from tests.command_line import Command

ROOT = Path(__file__).parents[2]
DOCTOR = ROOT / "docs" / "doctor.md"


@cache
def docs() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))


def commands(command: Any = None, name: str = "nextclick") -> Iterator[str]:
    below = getattr(command or get_command(app), "commands", {})
    for word, each in below.items():
        yield f"{name} {word}"
        yield from commands(each, f"{name} {word}")


def row(page: Path, name: str) -> str:
    """The first row of a table of the page that begins with this name."""
    found = re.findall(rf"^\| `{re.escape(name)}` \|.*$", page.read_text(), re.MULTILINE)
    return str(found[-1]) if found else ""


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_is_in_the_docs(command: str) -> None:
    assert command in docs()


def test_the_docs_name_no_command_that_does_not_exist() -> None:
    known = set(commands())
    named = set(re.findall(r"`(nextclick [a-z-]+)", docs()))
    assert {name for name in named if name not in known} == set()


def test_the_page_of_settings_is_as_the_command_writes_it(nextclick: Command) -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert nextclick("settings", "--markdown").stdout == page, "nextclick settings --markdown > docs/settings.md"


def test_every_check_of_the_doctor_is_in_its_table() -> None:
    checks = ["settings", BROKER, SECURITY, *OF_THE_CLUSTER, REGISTRY, DEVICE, DISK, VERSIONS]
    assert [check for check in checks if not row(DOCTOR, check)] == []


def test_every_topic_and_group_of_every_role_is_in_the_table_of_permissions() -> None:
    settings = Settings(_env_file=None)
    used = set()
    for role in Role:
        said = row(DOCTOR, role)
        for topic, operations in topic_operations(settings, [role]).items():
            used.add(topic)
            assert ("the changelog" if topic == settings.changelog_topic else f"`{topic}`") in said
            assert [operation for operation in operations if operation not in said] == []
        for group in groups(settings, [role]):
            told = group.replace(settings.app_id, "{app_id}", 1).replace(settings.model_name, "{model}")
            assert (f"`{told}`" if told != "{app_id}" else "`NEXTCLICK_APP_ID`") in said
    assert used == {contract.name for contract in topic_contracts(settings)}
