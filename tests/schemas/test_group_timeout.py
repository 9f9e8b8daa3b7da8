"""The group time-out of a worker: short, unless the worker has a member id of its own and comes back."""

from datetime import timedelta

import pytest

from schemas.settings import Settings, load_settings


@pytest.mark.parametrize(
    ("names", "seconds"),
    [
        ({}, 8),
        ({"NEXTCLICK_MEMBER_ID": "worker-1"}, 45),
        ({"NEXTCLICK_MEMBER_ID": "worker-1", "NEXTCLICK_GROUP_TIMEOUT": "10s"}, 10),
        ({"NEXTCLICK_GROUP_TIMEOUT": "20s"}, 20),
    ],
)
def test_a_static_member_has_time_to_restart(
    names: dict[str, str], seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NEXTCLICK_MEMBER_ID", "NEXTCLICK_GROUP_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert load_settings().group_timeout == timedelta(seconds=seconds)


def test_the_default_is_short() -> None:
    assert Settings(_env_file=None).group_timeout == timedelta(seconds=8)
