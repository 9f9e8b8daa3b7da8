"""A blend is refreshed while a worker serves open sessions: no session is replayed, and a new item is recommended."""

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from modelregistry.publishing import publish_bundle
from rankers.blend.model import Blend
from rankers.bundle import Bundle, read_bundle, write_bundle
from rankers.bundle_files import network_digest, read_files
from rankers.families import counted_family_of, network_family_of
from schemas.announcement import ClickSpan
from tests.worker.deployment import Deployment
from trainer.retraining.refresh import refresh
from worker.recommender import PendingClick, Recommender
from worker.serving_model import ServingModel
from worker.session_state import SessionState, new_session

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("deployments"),
    pytest.mark.usefixtures("compiled_scorer", "compiled_kernel"),
]

KNOWN, NEW = 40, 999
HISTORY = 2
"""Items that a session stores: fewer than its clicks, so that a replay would give another memory."""


def blend(directory: Path, now: int) -> Path:
    """A blend of an untrained network and of sessions (i, i + 1), whose newest click was an hour ago."""
    torch.manual_seed(0)
    network = network_family_of("gru4rec").untrained({"items": KNOWN, "hidden": 16})
    pairs = np.stack([np.arange(KNOWN), (np.arange(KNOWN) + 1) % KNOWN], axis=1).ravel()
    sessions = Sessions(pairs, np.arange(0, len(pairs) + 1, 2))
    stan = counted_family_of("stan").count({"items": KNOWN, "window": HISTORY}, sessions)
    model = Blend("gru4rec", network.eval(), list(range(KNOWN)), "stan", stan, 0.9, 1.0)
    span = ClickSpan(clicks=len(pairs), sessions=KNOWN, first=now - 7_200_000, last=now - 3_600_000)
    items = ItemIndex(list(range(KNOWN)), np.ones(KNOWN, dtype=np.int64))
    write_bundle(Bundle("blend", model, items, "blend", trained_on=span), directory)
    return directory


def waves(begin: int, end: int, now: int) -> list[tuple[str, int, int]]:
    """Some clicks of 30 sessions, which are all open: the numbers `begin` to `end` of each."""
    return [
        (f"s{session}", (session * 7 + wave * 3) % KNOWN, now - 600_000 + wave * 1000 + session)
        for wave in range(begin, end)
        for session in range(30)
    ]


def test_open_sessions_go_on_over_a_refresh_and_a_new_item_is_recommended(
    deployment: Deployment, tmp_path: Path
) -> None:
    now = time.time_ns() // 1_000_000
    settings = deployment.settings = deployment.settings.model_copy(
        update={"session_history": HISTORY, "archive_uri": str(tmp_path / "archive"), "models_uri": str(tmp_path / "m")}
    )
    path = blend(tmp_path / "blend", now)
    asyncio.run(publish_bundle(path, settings))
    worker = deployment.start()
    buyers = [(f"new{n}", item, now - 900_000 + n * 10 + k) for n in range(20) for k, item in enumerate((5, NEW))]
    deployment.send(buyers + waves(0, 4, now))
    deployment.wait_until_all_answered()

    decision = refresh(settings)
    assert decision.outcome == "refreshed", decision.reason
    deployment.wait_until(lambda: f": model {decision.candidate} is ready" in worker.said, "the refresh")
    deployment.send([*waves(4, 6, now), ("later", 5, now - 1000)])
    deployment.wait_until_all_answered()

    outcome = deployment.outcome()
    assert (outcome.missing, outcome.duplicates) == ([], 0)
    answered = {answer["model_version"] for answers in outcome.answers.values() for answer in answers}
    assert answered == {"blend", decision.candidate}
    (later,) = [answers[0] for answers in outcome.answers.values() if answers[0]["session_id"] == "later"]
    assert NEW in later["items"][:3]
    assert not any(NEW in answers[0]["items"] for answers in outcome.answers.values()
                   if answers[0]["model_version"] == "blend")  # fmt: skip

    straight = Recommender(
        gap_ms=1_800_000, history=HISTORY, model=ServingModel(read_bundle(path), torch.device("cpu"))
    )
    expected: dict[str, SessionState] = {}
    for offset, (session, item, moment) in enumerate(waves(0, 6, now)):
        state = expected.setdefault(session, new_session(0))
        straight.recommend([PendingClick(0, offset, b"", session, item, moment, state)], 0)
    states = deployment.states()
    for session, state in expected.items():
        assert states[session.encode()].served.memory == state.served.memory, "it was replayed"
        assert states[session.encode()].served.version == decision.candidate

    store = Path(settings.models_uri)
    names = [sorted(file.name for file in (store / str(name)).iterdir()) for name in ("blend", decision.candidate)]
    assert [name for name in names[0] if name not in names[1]] == ["network-items.json", "weights.safetensors"]
    digests = {network_digest(read_files(store / str(name)).about) for name in ("blend", decision.candidate)}
    assert len(digests) == 1
