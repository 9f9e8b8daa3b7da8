"""What a worker checks of an announced bundle before it serves it; test_faults.py tests the models topic."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from messaging.topic_identity import TopicIdentity
from modelregistry.models_state import Message, serving_key
from rankers.bundle import Bundle, write_bundle
from rankers.bundle_files import read_digest
from rankers.families import FAMILIES, counted_family_of
from schemas.announcement import ModelAnnouncement
from schemas.errors import BundleError
from schemas.settings import Settings
from tests.rankers.recent_items import RecentItems, RecentItemsFamily
from tests.worker.deployment import bundle
from worker.delivery.outage import Outage
from worker.model_follower import ModelFollower
from worker.serving_model import ServingModel


@pytest.mark.parametrize("history", [4, 5])
def test_a_bundle_that_needs_more_history_than_is_kept_is_refused(
    history: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, RecentItemsFamily.name, RecentItemsFamily())
    items = ItemIndex(list(range(30)), np.ones(30, dtype=np.int64))
    model = Bundle("v1", RecentItems.random(30, history), items, family=RecentItemsFamily.name)
    sha256 = write_bundle(model, tmp_path / "models" / "v1")
    settings = Settings(
        _env_file=None, data_dir=tmp_path / "data", models_uri=str(tmp_path / "models"), session_history=4
    )
    follower = ModelFollower(settings, torch.device("cpu"), lambda _model: None, lambda _model: None, Outage())
    announcement = ModelAnnouncement(
        name="gru4rec",
        version="v1",
        uri=str(tmp_path / "models" / "v1"),
        sha256=sha256,
        metrics={},
        announced_at=datetime.now(UTC),
    )
    if history <= 4:
        assert follower._load_now(announcement).version == "v1"
    else:
        with pytest.raises(BundleError, match=r"v1 reads the last 5 items .* NEXTCLICK_SESSION_HISTORY=4 keeps fewer"):
            follower._load_now(announcement)


class Stopped(Exception):
    """Ends a follower that has handled the messages."""


async def follow(follower: ModelFollower, messages: list[Message], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a follower handle messages, as if they were the whole topic."""

    async def read(*_: object) -> list[Message]:
        return messages

    async def stop(*_: object) -> None:
        raise Stopped

    async def identity(*_: object) -> TopicIdentity:
        return TopicIdentity("models-1", "cluster", 1)

    monkeypatch.setattr("worker.model_follower.topic_identity", identity)
    monkeypatch.setattr("worker.model_follower.read_to_end", read)
    monkeypatch.setattr("worker.model_follower._wait_for_more", stop)
    with pytest.raises(Stopped):
        await follower._follow(None, None)


def follower_of(settings: Settings) -> tuple[ModelFollower, list[ServingModel]]:
    served: list[ServingModel] = []
    return ModelFollower(settings, torch.device("cpu"), served.append, lambda _model: None, Outage()), served


def announced(settings: Settings, version: str, **shape: int) -> tuple[bytes, bytes]:
    """Put a model at the models URI; returns the message that announces it."""
    directory = bundle(Path(settings.models_uri) / version, version, **shape)
    announcement = ModelAnnouncement(
        name=settings.model_name, version=version, uri=str(directory), sha256=read_digest(directory),
        announced_at=datetime.now(UTC),
    )  # fmt: skip
    return serving_key(settings.model_name), announcement.model_dump_json().encode()


async def test_a_lost_announcement_leaves_the_model_that_served_here_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", models_uri=str(tmp_path / "models"))
    follower, served = follower_of(settings)
    message = announced(settings, "v1")
    await follow(follower, [message], monkeypatch)
    await follow(follower, [(message[0], None)], monkeypatch)
    assert [model.version for model in served] == ["v1"]

    restarted, served = follower_of(settings)
    await follow(restarted, [], monkeypatch)
    assert [model.version for model in served] == ["v1"]
    assert "no announcement of model gru4rec that can be served: going on with the model that served" in caplog.text

    elsewhere, served = follower_of(settings.model_copy(update={"data_dir": tmp_path / "another"}))
    caplog.set_level("INFO")
    await follow(elsewhere, [], monkeypatch)
    assert served == []
    assert "no model is announced yet" in caplog.text


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory"), OSError(28, "No space left")])
async def test_a_model_that_does_not_fit_is_refused_and_the_one_before_serves_on(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", models_uri=str(tmp_path / "models"))
    follower, served = follower_of(settings)
    await follow(follower, [announced(settings, "v1")], monkeypatch)
    twice = announced(settings, "v2", hidden=64)

    def too_large(*_: object) -> None:
        raise error

    with monkeypatch.context() as context:
        context.setattr("worker.model_follower.read_bundle", too_large)
        await follow(follower, [twice], context)
    assert [model.version for model in served] == ["v1"]
    assert follower.refused == 1
    assert "model v2 refused, the model before it" in caplog.text
    assert (type(error).__name__ if not str(error) else str(error)) in caplog.text

    await follow(follower, [twice], monkeypatch)  # announced again, with room for it
    assert [model.version for model in served] == ["v1", "v2"]


async def test_a_model_serves_although_its_announcement_cannot_be_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", models_uri=str(tmp_path / "models"))
    follower, served = follower_of(settings)
    await follow(follower, [announced(settings, "v1")], monkeypatch)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        v2 = announced(settings, "v2", hidden=64)
        context.setattr(Path, "write_text", full)
        await follow(follower, [v2], context)
    assert [model.version for model in served] == ["v1", "v2"]
    assert "serving.json cannot be written (No space left on device): model v2 serves" in caplog.text

    restarted, served = follower_of(settings)
    await follow(restarted, [], monkeypatch)
    assert [model.version for model in served] == ["v1"]


@pytest.mark.parametrize(
    ("wrong", "told"), [(1.5, "k is 1.5: it must be a whole number"), (10**30, "k is 1000000000000000000000000000000:")]
)
async def test_a_bundle_with_a_wrong_setting_is_refused_in_one_line_and_the_old_model_serves_on(
    wrong: float, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", models_uri=str(tmp_path / "models"))
    follower, served = follower_of(settings)
    await follow(follower, [announced(settings, "v1")], monkeypatch)
    neighbours = counted_family_of("stan").count({"items": 3}, Sessions(np.array([0, 1, 2]), np.array([0, 3])))
    crafted = replace(neighbours, config=replace(neighbours.config, k=wrong))
    directory = Path(settings.models_uri) / "v2"
    sha256 = write_bundle(Bundle("v2", crafted, ItemIndex(list("abc"), np.ones(3, dtype=np.int64)), "stan"), directory)
    announcement = ModelAnnouncement(
        name=settings.model_name, version="v2", uri=str(directory), sha256=sha256, announced_at=datetime.now(UTC)
    )
    await follow(follower, [(serving_key(settings.model_name), announcement.model_dump_json().encode())], monkeypatch)
    assert [model.version for model in served] == ["v1"]
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "model v2 refused, " in line
    assert told in line
