"""A blend from the command line and by `train`: its two phases, what it resumes from, and what it refuses."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clicklog.click_files import read_click_file
from clicklog.clicks import Clicks
from clicklog.splits import newest_share
from rankers.bundle import read_bundle
from schemas.errors import SettingsError, TrainingError
from tests.command_line import Command
from trainer.blending.train import told, train_blend
from trainer.blending.weight import FittedBlend
from trainer.config import TrainConfig
from trainer.distributed import Process
from trainer.fit import Progress
from trainer.presets import blend_defaults
from trainer.train import train
from trainer.trained import Trained
from trainer.validation import hold_out_newest
from trainer.warm_start import WarmStart

pytestmark = pytest.mark.usefixtures("compiled_kernel")


def config(network: str = "gru4rec") -> TrainConfig:
    usual = blend_defaults(network)
    return replace(usual, fit=replace(usual.fit, epochs=3, batch_size=16, samples=16), hidden=8, device="cpu")


@pytest.fixture
def clicks(shop_file: Path) -> Clicks:
    return read_click_file(shop_file, ["train"])


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_network_is_trained_on_all_sessions_for_the_epochs_that_the_newest_chose(clicks: Clicks) -> None:
    said: list[str] = []
    trained = train(clicks, config(), say=said.append)
    blend = trained.bundle.model
    chosen = train(clicks, replace(config().parts[0], validate=0.1)).fit.epoch
    whole = config().parts[0]
    alone = train(clicks, replace(whole, validate=0.0, fit=replace(whole.fit, epochs=chosen)))
    assert same(blend.network.state_dict(), alone.bundle.model.state_dict())
    assert list(blend.network_items) == list(trained.bundle.items.ids) == list(alone.bundle.items.ids)
    assert len(blend.neighbours.index.of_session) == 240 + 1, "of all sessions"
    assert trained.bundle.trained_on is not None
    assert trained.bundle.trained_on.last == clicks.frame["timestamp"].max()
    (told,) = [line for line in said if line.startswith("weight ")]
    assert "Recall@20/MRR@20" in told
    assert f"weight {blend.weight:g} of the neighbours and temperature {blend.temperature:g}" in told


@pytest.mark.parametrize("phase", [1, 2])
def test_a_training_that_was_interrupted_in_either_phase_goes_on(clicks: Clicks, tmp_path: Path, phase: int) -> None:
    straight = train(clicks, config()).bundle.model
    fits: list[int] = []

    def interrupt(now: Progress) -> None:
        if now.epoch == 1 and now.epoch_done:
            fits.append(1)
        if len(fits) == phase and now.epoch == 2:
            raise KeyboardInterrupt

    trained: list[int] = []

    def watch(now: Progress) -> None:
        if now.epoch_done:
            trained.append(now.epoch)

    with pytest.raises(KeyboardInterrupt):
        train(clicks, config(), progress=interrupt, checkpoint=tmp_path)
    resumed = train(clicks, config(), progress=watch, checkpoint=tmp_path).bundle.model
    assert same(resumed.network.state_dict(), straight.network.state_dict())
    assert (resumed.weight, resumed.temperature) == (straight.weight, straight.temperature)
    assert trained[0] == 2, "the first epoch was not trained again"
    assert 1 in trained if phase == 1 else 1 not in trained


def test_a_warm_start_trains_the_network_further_and_keeps_weight_and_temperature(clicks: Clicks) -> None:
    older, _ = newest_share(clicks.frame, 0.3)
    parent = train(Clicks(older, "older"), config()).bundle
    blend = parent.model
    parent = replace(parent, model=replace(blend, weight=0.21, temperature=1.7))
    assert parent.trained_on is not None
    warm = WarmStart(parent, None, parent.trained_on.last or 0, epochs=1, replay=0.0)
    trained = train(clicks, config(), warm=warm)
    child = trained.bundle.model
    assert (trained.bundle.family, child.weight, child.temperature) == ("blend", 0.21, 1.7)
    assert len(trained.fit.losses) == 1
    assert len(child.neighbours.index.of_session) - 1 == 240
    assert not same(child.network.state_dict(), blend.network.state_dict())


def test_train_and_evaluate_on_the_command_line(nextclick: Command, shop_file: Path, tmp_path: Path) -> None:
    options = ["--family", "blend", "--network", "sasrec", "--neighbours", "vs-knn", "--epochs", 2, "--hidden", 8]
    done = nextclick("train", "--clicks", shop_file, "--split", "train", *options, "--out", "b", "--checkpoint", "c")
    assert done.code == 0, done.stderr
    assert "1 of 2: sasrec and vs-knn of the older 90%" in done.stderr
    assert not list((tmp_path / "c").iterdir()), "the checkpoints of both phases are removed"
    bundle = read_bundle(tmp_path / "b")
    assert (bundle.family, bundle.model.network_family, bundle.model.neighbours_family) == ("blend", "sasrec", "vs-knn")
    assert bundle.settings["network"] == "sasrec"
    assert bundle.settings["window"] == bundle.needs.history == 20
    done = nextclick("evaluate", "--model", "b", "--clicks", shop_file, "--split", "test", "--json", "f.json")
    assert done.code == 0, done.stderr
    assert json.loads((tmp_path / "f.json").read_text())["recall"]["20"] > 0.8


def test_a_blend_without_a_validation_part_is_refused(clicks: Clicks) -> None:
    with pytest.raises(SettingsError, match=r"validate = 0: a blend fits its weight on the newest sessions"):
        train(clicks, replace(config(), validate=0.0))


def test_neighbours_that_do_not_fit_into_memory_are_refused_before_the_network_is_trained(
    clicks: Clicks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.counting.memory_bytes", lambda _device: 120_000)
    trained: list[Progress] = []
    with pytest.raises(TrainingError, match=r"1,200 clicks of 240 sessions take .* and this machine has 0\.1 MB"):
        train(clicks, config(), progress=trained.append)
    assert not trained


def test_the_second_fit_has_the_memory_of_the_first(clicks: Clicks) -> None:
    first: list[weakref.ref[object]] = []
    alive: list[bool] = []

    def train_network(*, config: TrainConfig, warm: WarmStart | None, part: str) -> Trained:
        gc.collect()
        alive.extend(one() is not None for one in first)
        trained = train(clicks, config, warm=warm, part=part)
        first.extend(map(weakref.ref, (trained, trained.bundle.model, *trained.fit.state.values())))
        return trained

    newest = hold_out_newest(clicks.frame, 0.1, 5, 2).valid
    train_blend(config(), train_network, lambda: newest, None, torch.device("cpu"), print)
    assert len(alive) > 2
    assert not any(alive)


@pytest.mark.parametrize("unattended", [False, True])
@pytest.mark.parametrize("interrupted", [0, 1], ids=["a network", "a blend"])
def test_a_checkpoint_of_a_network_alone_is_none_of_a_blend(
    clicks: Clicks, tmp_path: Path, interrupted: int, unattended: bool
) -> None:
    def interrupt(now: Progress) -> None:
        if now.epoch == 2:
            raise KeyboardInterrupt

    both = config().parts[0], config()
    with pytest.raises(KeyboardInterrupt):
        train(clicks, both[interrupted], progress=interrupt, checkpoint=tmp_path)
    (kept,) = tmp_path.iterdir()
    other = both[1 - interrupted]
    if unattended:
        train(clicks, other, checkpoint=tmp_path, unattended=True)
        assert not kept.exists(), "as with any other training"
        return
    before = kept.read_bytes()
    with pytest.raises(TrainingError, match=rf"{kept.name} is of another training .* give another --checkpoint"):
        train(clicks, other, checkpoint=tmp_path)
    assert kept.read_bytes() == before


def test_a_family_that_counts_leaves_a_checkpoint_alone(nextclick: Command, shop_file: Path, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    kept = tmp_path / "c" / "checkpoint.safetensors"
    kept.write_bytes(b"of another training")
    done = nextclick("train", "--clicks", shop_file, "--family", "stan", "--checkpoint", "c", "--out", "b")
    assert done.code == 0, done.stderr
    assert kept.exists()


class SomeDevice(Process):
    """Like a process of torchrun, which has a device of its own whatever the user asks for."""

    def device(self, name: str) -> str:
        assert name == "cuda"
        return "cpu"


def test_every_fit_of_a_blend_uses_the_device_of_its_process(clicks: Clicks) -> None:
    trained = train(clicks, replace(config(), device="cuda"), process=SomeDevice())
    assert trained.bundle.family == "blend"
    with pytest.raises(SettingsError, match=r"NEXTCLICK_DEVICE='tpu' is no device"):
        train(clicks, replace(config(), device="tpu"), device_source="NEXTCLICK_DEVICE")


@pytest.mark.parametrize(("weight", "best"), [(0.0, "gru4rec"), (0.4, None), (1.0, "stan")])
def test_a_blend_of_one_part_alone_is_said(weight: float, best: str | None) -> None:
    said = told(FittedBlend(weight, 1.0, (0.5, 0.2), (0.4, 0.1), (0.3, 0.1)), "gru4rec", "stan")
    assert said.startswith(f"weight {weight:g} of the neighbours and temperature 1: Recall@20/MRR@20 0.5000/0.2000 on")
    if best is None:
        assert "train --family" not in said
    else:
        assert said.endswith(f"; {best} alone is the best blend, and serves faster: train --family {best}")
