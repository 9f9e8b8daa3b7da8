"""A change of the models that a person makes: who and why, as a decision on the models topic."""

import getpass
import importlib.metadata
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from schemas.announcement import ClickSpan
from schemas.decision import Decision


def this_user() -> str:
    """`user@host` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


@dataclass(frozen=True)
class Author:
    """Who changes the models, and why.

    Attributes:
        by: `user@host`, or the name that was given.
        why: in words; empty if no reason was given.
    """

    by: str = field(default_factory=this_user)
    why: str = ""

    def decision(
        self,
        name: str,
        outcome: Literal["published", "promoted", "shadowed", "dropped", "rolled-back"],
        candidate: str,
        serving: str | None,
        what: str,
        *,
        trained_on: ClickSpan | None = None,
        withdrawn: Mapping[str, datetime] | None = None,
    ) -> Decision:
        """Make the record of a change that happens now.

        Args:
            name: of the model.
            outcome: the change.
            candidate: the version that it is about; of a rollback: the one that served.
            serving: the version that served before; of a rollback: the one that serves from now on.
            what: the change in words; the reason follows it.
            trained_on: of the candidate.
            withdrawn: as in `Decision`.
        """
        now = datetime.now(UTC)
        return Decision(
            name=name,
            id=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
            outcome=outcome,
            reason=" ".join(f"{what}: {self.why}".split()) if self.why.strip() else what,
            began_at=now,
            decided_at=now,
            candidate=candidate,
            serving=serving,
            trained_on=trained_on,
            cpu_seconds=0,
            package=importlib.metadata.version("nextclick"),
            by=self.by,
            withdrawn=dict(withdrawn or {}),
        )
