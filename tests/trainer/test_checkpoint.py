import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from clicklog.clicks import Clicks
from clicklog.sessions import Sessions
from rankers.bundle import Bundle
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from schemas.errors import TrainingError
from trainer.checkpoint import FILE, Checkpoint
from trainer.config import FitConfig, TrainConfig
from trainer.fit import FitResult, Progress, fit
from trainer.train import train
from trainer.warm_start import WarmStart

pytestmark = pytest.mark.usefixtures("compiled_kernel")

CONFIG = TrainConfig(
    FitConfig(batch_size=8, samples=20, epochs=4, dropout_hidden=0.3, dropout_embedding=0.1, order="random"),
    hidden=6,
    min_support=1,
    device="cpu",
)
PATHS = [{}, {"optimizer": "adam"}, {"optimizer": "rmsprop"}, {"loss": "bpr-max"}]  # the kernel, and autograd


def clicks() -> Clicks:
    random = np.random.default_rng(0)
    sessions = np.repeat(np.arange(200), 4)
    frame = pl.DataFrame({"session_id": sessions, "item_id": random.integers(0, 30, 800), "timestamp": sessions})
    return Clicks(frame, "test")


def trained(config: TrainConfig, **options: Any) -> tuple[Bundle, FitResult]:
    result = train(clicks(), config, **options)
    return result.bundle, result.fit


class Interruption(Exception):
    pass


def interrupt_in(epoch: int) -> object:
    def progress(now: Progress) -> None:
        if now.epoch == epoch:
            raise Interruption

    return progress


ADDED_TO_THE_FIT = {"top_negatives"}
SETTINGS_OF_0_1 = [
    *(FitConfig.__dataclass_fields__.keys() - ADDED_TO_THE_FIT),
    "hidden",
    "layers",
    "input",
    "reset",
    "clicks",
    "path",
]
FAMILIES = [{}, {"layers": 2}, {"family": "narm"}, {"family": "stamp"}, {"family": "sasrec"}]


@pytest.mark.parametrize("change", PATHS)
@pytest.mark.parametrize("shape", FAMILIES)
def test_an_interrupted_training_ends_like_one_that_was_not(
    tmp_path: Path, change: dict[str, object], shape: dict[str, Any]
) -> None:
    config = replace(CONFIG, fit=replace(CONFIG.fit, **change), **shape)
    whole, result = trained(config)
    with pytest.raises(Interruption):
        train(clicks(), config, progress=interrupt_in(3), checkpoint=tmp_path)
    seen: list[Progress] = []
    torch.manual_seed(99)  # the state of torch's generator must not matter
    resumed, rest = trained(config, progress=seen.append, checkpoint=tmp_path)
    assert [now.epoch for now in seen if now.epoch_done] == [3, 4]
    assert rest.losses == result.losses
    assert rest.events == result.events / 2
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


@pytest.mark.slow
def test_a_killed_training_goes_on(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from typing import Any
from tests.trainer.test_checkpoint import CONFIG, clicks
from trainer.train import train

def progress(now):
    if now.epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)

train(clicks(), CONFIG, progress=progress, checkpoint=Path({str(tmp_path)!r}))
"""
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed, rest = trained(CONFIG, checkpoint=tmp_path)
    whole, result = trained(CONFIG)
    assert rest.losses == result.losses
    assert rest.events < result.events
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_a_finished_training_is_only_read(tmp_path: Path) -> None:
    whole, _ = trained(CONFIG, checkpoint=tmp_path)
    again, result = trained(CONFIG, checkpoint=tmp_path)
    assert result.events == 0
    assert torch.equal(whole.model.output_weight, again.model.output_weight)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"hidden": 7}, "hidden 6 there and 7 here"),
        ({"family": "narm"}, "family gru4rec there and narm here"),
        ({"fit": replace(CONFIG.fit, learning_rate=0.01)}, "learning_rate 0.2 there and 0.01 here"),
        ({"fit": replace(CONFIG.fit, optimizer="adam")}, "optimizer adagrad there and adam here"),
        ({"min_support": 22}, "clicks .* there and .* here"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, other: dict[str, object], message: str) -> None:
    train(clicks(), replace(CONFIG, fit=replace(CONFIG.fit, learning_rate=0.2)), checkpoint=tmp_path)
    config = replace(CONFIG, **{"fit": replace(CONFIG.fit, learning_rate=0.2), **other})
    with pytest.raises(TrainingError, match=rf"is of another training \(.*{message}.*\): train as it was, or give"):
        train(clicks(), config, checkpoint=tmp_path)


def test_a_checkpoint_from_before_there_were_families_is_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(Interruption):
        train(clicks(), CONFIG, progress=interrupt_in(3), checkpoint=tmp_path)
    with safe_open(tmp_path / FILE, framework="pt") as file:
        about, state = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    of_then = {name: value for name, value in json.loads(about["training"]).items() if name in SETTINGS_OF_0_1}
    save_file(state, tmp_path / FILE, about | {"training": json.dumps(of_then)})
    resumed, rest = trained(CONFIG, checkpoint=tmp_path)
    whole, result = trained(CONFIG)
    assert (rest.losses, rest.events) == (result.losses, result.events / 2)
    assert torch.equal(whole.model.output_weight, resumed.model.output_weight)
    save_file(state, tmp_path / FILE, about | {"training": json.dumps(of_then)})
    with pytest.raises(TrainingError, match="family gru4rec there and narm here"):
        train(clicks(), replace(CONFIG, family="narm"), checkpoint=tmp_path)


def test_a_damaged_checkpoint_and_one_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\x00" * 100)
    with pytest.raises(TrainingError, match=r"checkpoint\.safetensors is damaged .*: remove it"):
        train(clicks(), CONFIG, checkpoint=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"the checkpoint cannot be written to .*file"):
        train(clicks(), CONFIG, checkpoint=tmp_path / "file")


def test_an_unattended_training_replaces_the_checkpoint_of_another(tmp_path: Path) -> None:
    whole, result = trained(CONFIG)
    for other in (replace(CONFIG, hidden=7), replace(CONFIG, fit=replace(CONFIG.fit, learning_rate=0.01))):
        train(clicks(), other, checkpoint=tmp_path, unattended=True)
        instead, own = trained(CONFIG, checkpoint=tmp_path, unattended=True)
        assert own.events == result.events, "it began anew"
        assert torch.equal(instead.model.output_weight, whole.model.output_weight)
    (tmp_path / FILE).write_bytes(b"\x00" * 100)
    assert trained(CONFIG, checkpoint=tmp_path, unattended=True)[1].losses == result.losses
    assert trained(CONFIG, checkpoint=tmp_path)[1].events == 0, "a checkpoint of its own is there now"


def test_a_checkpoint_goes_before_the_state_of_a_warm_start(tmp_path: Path) -> None:
    parent = train(clicks(), CONFIG)
    warm = WarmStart(parent.bundle, parent.fit.state, 100, epochs=4, replay=0.5)
    whole, result = trained(CONFIG, warm=warm)
    with pytest.raises(Interruption):
        trained(CONFIG, progress=interrupt_in(3), checkpoint=tmp_path, warm=warm, unattended=True)
    resumed, rest = trained(CONFIG, checkpoint=tmp_path, warm=warm, unattended=True)
    assert rest.events == result.events / 2
    assert torch.equal(resumed.model.output_weight, whole.model.output_weight)
    for name, tensor in result.state.items():
        assert torch.equal(tensor, rest.state[name]), name
    again = trained(CONFIG, checkpoint=tmp_path, warm=warm, unattended=True)[1]
    assert again.events == 0, "killed after its last epoch, it is only read"
    for name, tensor in result.state.items():
        assert torch.equal(tensor, again.state[name]), name


def test_a_checkpoint_is_replaced_in_one_go(tmp_path: Path) -> None:
    sessions = Sessions(np.array([0, 1, 2, 0, 2]), np.array([0, 3, 5]))
    network = GRU4Rec(NetworkConfig(items=3, hidden=4))
    checkpoint = Checkpoint(tmp_path / "new", {"a": 1})
    fit(network, sessions, np.ones(3, dtype=np.int64), FitConfig(samples=2, epochs=2), checkpoint=checkpoint)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [FILE]
    kept = checkpoint.load()
    assert kept is not None
    assert len(kept[0]) == 2
    checkpoint.remove()
    assert checkpoint.load() is None
