"""Bundles and session states of nextclick 0.1 are read, and their sessions continue with the answers of 0.1.

`written_by_0_1/` was made with commit 3f83ea3: two bundles of untrained networks, `champion` and `shadow`, and the
state of a session that clicked items 1, 2, "x" and an unknown item, as three recommenders stored it. The answers to its
next click, on item 7, are those of that version.
"""

import json
from pathlib import Path

import pytest
import torch

from rankers.bundle import read_bundle, write_bundle
from schemas.errors import BundleError
from worker.recommender import Label, PendingClick, Recommender
from worker.serving_model import ServingModel
from worker.session_state import pack, unpack

WRITTEN = Path(__file__).parent / "written_by_0_1"
NOW = 1_700_000_000_000


def model(name: str) -> ServingModel:
    return ServingModel(read_bundle(WRITTEN / name), torch.device("cpu"))


@pytest.mark.parametrize("state_format", [2, 3])
@pytest.mark.parametrize("name", ["float32", "float16", "with-shadow"])
def test_a_session_goes_on_as_it_would_have(name: str, state_format: int) -> None:
    expected = json.loads((WRITTEN / "next_answers.json").read_text())[name]
    recommender = Recommender(
        gap_ms=1_800_000,
        history=50,
        storage="float16" if name == "float16" else "float32",
        state_format=state_format,
        model=model("champion"),
        shadow=model("shadow") if name == "with-shadow" else None,
    )
    state = unpack((WRITTEN / f"{name}.state").read_bytes())
    outcome = recommender.recommend([PendingClick(3, 4, b"s", "s", 7, NOW + 9, state)], NOW)
    (answer,) = outcome.answers
    assert answer is not None
    assert answer.items == expected["items"]
    assert answer.scores == pytest.approx(expected["scores"], abs=1e-3)
    assert outcome.labels == [Label(*label) for label in expected["labels"]]
    (packed,) = outcome.states.values()
    assert packed[0] == state_format
    assert unpack(packed).history == [1, 2, "x", "unknown", 7]


def test_half_precision_states_are_read_after_the_setting_changed() -> None:
    state = unpack((WRITTEN / "float16.state").read_bytes())
    recommender = Recommender(gap_ms=1_800_000, history=50, model=model("champion"))
    (answer,) = recommender.recommend([PendingClick(3, 4, b"s", "s", 7, NOW + 9, state)], NOW).answers
    assert answer is not None
    assert answer.items == json.loads((WRITTEN / "next_answers.json").read_text())["float16"]["items"]


def test_a_state_in_format_2_is_byte_for_byte_what_0_1_wrote() -> None:
    for path in WRITTEN.glob("*.state"):
        assert pack(unpack(path.read_bytes()), 2) == path.read_bytes()


@pytest.mark.parametrize(("name", "layers", "memory"), [("champion", 1, 32), ("shadow", 2, 64)])
def test_a_bundle_of_format_1_is_of_the_family_gru4rec(name: str, layers: int, memory: int, tmp_path: Path) -> None:
    bundle = read_bundle(WRITTEN / name)
    assert (bundle.version, bundle.family, bundle.model.config.layers) == (name, "gru4rec", layers)
    assert (bundle.needs.history, bundle.needs.memory) == (0, memory)
    assert (bundle.items.ids[0], bundle.items.ids[-1], int(bundle.items.support[0])) == (0, "x", 60)
    assert bundle.settings == {"epochs": 1}
    assert bundle.trained_on is not None
    assert bundle.trained_on.sessions == 30
    again = read_bundle(tmp_path / name, write_bundle(bundle, tmp_path / name))
    for key, tensor in bundle.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[key], tensor)
    assert (again.items.ids, again.metrics, again.network_digest) == (
        bundle.items.ids,
        {"recall@20": 0.5},
        bundle.network_digest,
    )


def test_a_damaged_bundle_of_format_1_is_refused(tmp_path: Path) -> None:
    for path in (WRITTEN / "champion").iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[:-1] + b"!" if path.name == "items.json" else content)
    with pytest.raises(BundleError, match="is damaged: its files have the sha256"):
        read_bundle(tmp_path)
