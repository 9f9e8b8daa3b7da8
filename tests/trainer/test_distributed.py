import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from clicklog.click_files import read_click_file
from rankers.bundle import read_bundle
from trainer.checkpoint import FILE
from trainer.config import FitConfig, TrainConfig
from trainer.distributed import Process
from trainer.fit import Progress
from trainer.train import train

pytestmark = pytest.mark.usefixtures("compiled_kernel")

ROOT = Path(__file__).parents[2]
COMMON = "--epochs 2 --hidden 8 --batch-size 7 --min-support 1 --learning-rate 0.1 --momentum 0.3 --device cpu"
FIT = FitConfig(batch_size=7, epochs=2, learning_rate=0.1, momentum=0.3)
CONFIG = TrainConfig(FIT, hidden=8, min_support=1, device="cpu")


@pytest.fixture(scope="module")
def clicks_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 short sessions, then a long one: at the end the batch has a single lane, in one process."""
    random = np.random.default_rng(0)
    lengths = [*random.integers(2, 7, 80).tolist(), 20]
    session = np.repeat(np.arange(len(lengths)), lengths)
    path = tmp_path_factory.mktemp("clicks") / "clicks.parquet"
    item = random.integers(0, 30, len(session))
    pl.DataFrame({"session_id": session, "item_id": item, "timestamp": session}).write_parquet(path)
    return path


def on_two(directory: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """A script, or the module after `-m`, in two processes of torchrun."""
    launch = ["torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
    environment = {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
    }
    return subprocess.run(
        [sys.executable, "-m", *launch, *map(str, command)],
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Interruption(Exception):
    pass


def interrupt(now: Progress) -> None:
    if now.epoch == 2:
        raise Interruption


# Neither case uses the compiled kernel, which draws different dropout masks.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "config", "resumed"),
    [
        (
            "--reset before --samples 40 --dropout-hidden 0.3 --dropout-embedding 0.2",
            replace(CONFIG, reset="before", fit=replace(FIT, samples=40, dropout_hidden=0.3, dropout_embedding=0.2)),
            False,
        ),
        (
            "--input one-hot --loss top1 --samples 0 --dropout-hidden 0.2 --order random",
            replace(
                CONFIG, input="one-hot", fit=replace(FIT, loss="top1", samples=0, dropout_hidden=0.2, order="random")
            ),
            True,
        ),
    ],
    ids=["cross-entropy", "top1, from a checkpoint"],
)
def test_two_processes_train_what_one_does(
    clicks_file: Path, tmp_path: Path, options: str, config: TrainConfig, resumed: bool
) -> None:
    clicks = read_click_file(clicks_file)
    if resumed:
        with pytest.raises(Interruption):
            train(clicks, config, progress=interrupt, checkpoint=tmp_path / "kept")
        assert (tmp_path / "kept" / FILE).exists()
    arguments = f"{COMMON} {options} --checkpoint kept --out bundle".split()
    two = on_two(tmp_path, "-m", "nextclick", "train", "--clicks", clicks_file, *arguments)
    assert two.returncode == 0, two.stderr
    (loss,) = re.findall(r"^bundle: version .* loss ([0-9.]+)", two.stdout, re.MULTILINE)
    assert re.findall(r"^epoch (\d)", two.stderr, re.MULTILINE) == (["2"] if resumed else ["1", "2"])
    assert list((tmp_path / "kept").iterdir()) == []

    alone = train(clicks, config)
    one, result = alone.bundle, alone.fit
    assert float(loss) == pytest.approx(result.losses[-1], abs=1e-4)
    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.items.ids == one.items.ids
    trained = bundle.model.state_dict()
    for name, tensor in one.model.state_dict().items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: name + text)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_blend")
def test_two_processes_train_the_blend_that_one_does(clicks_file: Path, tmp_path: Path) -> None:
    options = "--family blend --neighbours vs-knn --k 20 --validate 0.2 --reset before --dropout-hidden 0.3"
    arguments = f"{COMMON} {options} --out bundle".split()
    two = on_two(tmp_path, "-m", "nextclick", "train", "--clicks", clicks_file, *arguments)
    assert two.returncode == 0, two.stderr
    assert two.stderr.count("1 of 2: gru4rec and vs-knn of the older 80%") == 1, "one process speaks for both"
    fit = replace(FIT, dropout_hidden=0.3)
    config = replace(
        CONFIG, fit=fit, family="blend", neighbours="vs-knn", k=20, window=50, validate=0.2, reset="before"
    )
    alone = train(read_click_file(clicks_file), config).bundle
    bundle = read_bundle(tmp_path / "bundle")
    assert (bundle.family, bundle.items.ids) == ("blend", alone.items.ids)
    found, expected = bundle.model, alone.model
    assert (found.weight, found.temperature) == (expected.weight, expected.temperature)
    assert found.neighbours.index.of_session.tolist() == expected.neighbours.index.of_session.tolist()
    trained = found.network.state_dict()
    for name, tensor in expected.network.state_dict().items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: name + text)


@pytest.mark.slow
def test_two_processes_refuse_a_blend_whose_network_reads_the_history_by_one_line(
    clicks_file: Path, tmp_path: Path
) -> None:
    arguments = [*COMMON.split(), "--family", "blend", "--network", "sasrec", "--out", "bundle"]
    refused = on_two(tmp_path, "-m", "nextclick", "train", "--clicks", clicks_file, *arguments)
    assert refused.returncode == 1
    (line,) = re.findall("^nextclick: .*", refused.stderr, re.MULTILINE)
    assert "2 processes cannot train a network that reads the history: start one process" in line
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
def test_fewer_lanes_than_processes_are_refused_by_one_line(clicks_file: Path, tmp_path: Path) -> None:
    arguments = ["--batch-size", 1, "--min-support", 1, "--out", "bundle"]
    refused = on_two(tmp_path, "-m", "nextclick", "train", "--clicks", clicks_file, *arguments)
    assert refused.returncode == 1
    (line,) = re.findall("^nextclick: .*", refused.stderr, re.MULTILINE)
    assert "--batch-size 1 leaves some of 2 processes without a lane" in line
    assert refused.stdout == ""
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
def test_an_error_of_one_process_is_the_leader_s(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("""
import sys
import torch
from schemas.errors import ClicksError, TrainingError
from trainer.distributed import process_group

def fail():
    raise ClicksError(f"read by {process.rank}")

try:
    with process_group() as process:
        try:
            process.on_rank_zero(fail)
        except ClicksError as error:
            assert str(error) == "read by 0"
        if process.rank == 1:
            raise TrainingError("no GPU here")
        process.sum([torch.zeros(3)])
except TrainingError as error:
    print(process.rank, error)
    sys.exit(3)
""")
    failed = on_two(tmp_path, "script.py")
    assert failed.returncode == 1
    assert failed.stdout == "0 process 1 of 2 failed: no GPU here\n", failed.stderr


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("live", [[0, 1, 2, 3, 4, 5, 6], [1, 2, 6], [6]])
def test_every_lane_is_one_process_s(size: int, live: list[int]) -> None:
    lanes = np.array(live, dtype=np.int32)
    shares = [lanes[Process(rank, size).own(lanes, 7)] for rank in range(size)]
    assert np.concatenate(shares).tolist() == live
    if len(live) == 7:
        assert {len(share) for share in shares} <= {7 // size, -(-7 // size)}
