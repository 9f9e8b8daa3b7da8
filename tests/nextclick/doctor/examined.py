"""Runs the checks of `nextclick doctor`, and holds what every finding must have."""

import asyncio
from collections.abc import Sequence
from typing import Any

from nextclick.doctor.examination import examine
from nextclick.doctor.finding import Finding, Level
from nextclick.doctor.roles import Role
from schemas.settings import Settings


def changed(settings: Settings, **changes: Any) -> Settings:
    """Other settings of the same deployment."""
    return Settings(_env_file=None, **settings.model_dump(exclude=set(changes), exclude_unset=True) | changes)


def findings(settings: Settings, *roles: Role) -> list[Finding]:
    """What the doctor finds; all roles by default."""
    found = asyncio.run(examine(settings, roles or list(Role)))
    for finding in found:
        assert finding.meaning
        assert "\n" not in finding.meaning + finding.way_out
        assert finding.way_out or finding.level in (Level.OK, Level.NOT_CHECKED), finding
    return found


def bad(found: Sequence[Finding]) -> list[Finding]:
    """The errors and warnings."""
    return [finding for finding in found if finding.level in (Level.ERROR, Level.WARNING)]


def the(found: Sequence[Finding], check: str) -> Finding:
    """The only finding of a check."""
    (one,) = [finding for finding in found if finding.check == check]
    return one
