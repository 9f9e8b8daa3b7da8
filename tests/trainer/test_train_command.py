import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from clicklog.click_files import read_click_file
from rankers.bundle import read_bundle
from tests.command_line import Command
from trainer.config import FitConfig, TrainConfig
from trainer.train import evaluate_bundle, train

pytestmark = pytest.mark.usefixtures("compiled_kernel")

QUICK = TrainConfig(FitConfig(batch_size=16, samples=16, epochs=3), hidden=16)


@pytest.fixture(scope="module")
def clicks_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 sessions of text items, each following the last; the last 60 are the test split."""
    random = np.random.default_rng(0)
    rows = []
    for session in range(300):
        item = int(random.integers(40))
        for click in range(5):
            rows.append((session, f"item-{item}", session * 1000 + click, "train" if session < 240 else "test"))
            item = (item + 1) % 40
    path = tmp_path_factory.mktemp("clicks") / "clicks.parquet"
    pl.DataFrame(rows, schema=["session_id", "item_id", "timestamp", "split"], orient="row").write_parquet(path)
    return path


def test_options_and_a_file_win_over_a_preset(nextclick: Command, clicks_file: Path, tmp_path: Path) -> None:
    (tmp_path / "quick.toml").write_text("epochs = 2\nhidden = 16\nmin-support = 2\n")
    given = ["--hidden", 8, "--preset", "diginetica", "--config", "quick.toml"]
    for arguments in (given, [*given[:2], *given[4:], *given[2:4]]):  # in any order
        trained = nextclick("train", "--clicks", clicks_file, *arguments, "--samples", 16, "--out", "bundle")
        assert trained.code == 0, trained.stderr
        settings = read_bundle(tmp_path / "bundle").settings
        assert (settings["hidden"], settings["epochs"], settings["min_support"]) == (8, 2, 2)
        assert (settings["family"], settings["loss"]) == ("blend", "bpr-max"), "what only the preset names"


def test_train_then_evaluate(nextclick: Command, clicks_file: Path, tmp_path: Path) -> None:
    (tmp_path / "quick.toml").write_text("batch-size = 16\nsamples = 16\nepochs = 9\nhidden = 16\nsplit = 'train'\n")
    trained = nextclick("train", "--clicks", clicks_file, "--config", "quick.toml", "--epochs", 4, "--out", "bundle")
    assert trained.code == 0, trained.stderr
    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.version in trained.stdout
    assert "epoch 4" in trained.stderr
    assert "epoch 5" not in trained.stderr, "the command line wins over the file"
    assert bundle.model.config.hidden == 16
    assert bundle.settings["batch_size"] == 16
    assert bundle.settings["epochs"] == 4
    assert bundle.settings["input"] == "shared"
    assert not {"window", "heads", "elu"} & bundle.settings.keys(), "what this training does not use"
    assert set(bundle.items.ids) == {f"item-{number}" for number in range(40)}
    assert bundle.trained_on is not None
    assert (bundle.trained_on.clicks, bundle.trained_on.sessions) == (1200, 240)
    assert (bundle.trained_on.first, bundle.trained_on.last) == (0, 239_004)

    arguments = ["evaluate", "--model", "bundle", "--clicks", clicks_file, "--split", "test", "--json", "figures.json"]
    evaluated = nextclick(*arguments)
    assert evaluated.code == 0, evaluated.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["events"] == 240
    assert list(figures["recall"]) == list(figures["mrr"]) == ["1", "5", "10", "20"]
    assert figures["recall"]["5"] > 0.8
    assert f"{figures['recall']['20']:.4f}" in evaluated.stdout
    assert nextclick(*arguments, "--cutoffs", "3,2,3").code == 0
    assert list(json.loads((tmp_path / "figures.json").read_text())["recall"]) == ["2", "3"]
    refused = nextclick(*arguments, "--cutoffs", "2,x")
    assert refused.code == 2
    assert "--cutoffs" in refused.stderr


@pytest.mark.parametrize("family", ["vs-knn", "stan"])
def test_neighbours_are_counted(nextclick: Command, clicks_file: Path, tmp_path: Path, family: str) -> None:
    options = ["--family", family, "--k", 7, "--window", 3]
    trained = nextclick("train", "--clicks", clicks_file, "--split", "train", *options, "--out", "bundle")
    assert trained.code == 0, trained.stderr
    assert "1,200 clicks of 240 sessions take 0.0 MB in a worker at most, and 0.1 MB while" in trained.stderr
    assert ", counted, " in trained.stdout
    size = sum(path.stat().st_size for path in (tmp_path / "bundle").iterdir())
    assert f"{size / 1e6:.1f} MB, sha256" in trained.stdout
    bundle = read_bundle(tmp_path / "bundle")
    assert (bundle.model.config.k, bundle.needs.history, bundle.settings["window"]) == (7, 3, 3)
    arguments = ["evaluate", "--model", "bundle", "--clicks", clicks_file, "--split", "test", "--json", "figures.json"]
    assert nextclick(*arguments).code == 0
    assert json.loads((tmp_path / "figures.json").read_text())["recall"]["5"] > 0.8


def test_clicks_that_do_not_fit_into_memory_are_not_counted(
    nextclick: Command, clicks_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.counting.memory_bytes", lambda _device: 1000)
    done = nextclick("train", "--clicks", clicks_file, "--family", "stan")
    assert done.code == 1
    assert "while they are counted, and this machine has 0.0 MB: give it fewer clicks" in done.stderr


def test_without_out_the_bundle_goes_below_the_models_uri(
    nextclick: Command, clicks_file: Path, tmp_path: Path
) -> None:
    arguments = ["--clicks", clicks_file, "--epochs", 1, "--samples", 8, "--hidden", 4]
    assert nextclick("train", *arguments).code == 0
    (directory,) = (tmp_path / ".nextclick" / "models").iterdir()
    assert read_bundle(directory).version == directory.name


def test_the_network_of_the_paper(nextclick: Command, clicks_file: Path, tmp_path: Path) -> None:
    paper = ["--input", "one-hot", "--reset", "before", "--samples", 0, "--loss", "top1", "--layers", 2]
    trained = nextclick(
        "train", "--clicks", clicks_file, *paper, "--epochs", 1, "--hidden", 4, "--batch-size", 8, "--out", "bundle"
    )
    assert trained.code == 0, trained.stderr
    config = read_bundle(tmp_path / "bundle").model.config
    assert (config.input, config.reset, config.layers) == ("one-hot", "before", 2)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--clicks", "nope.parquet"], 1, "nope.parquet does not exist"),
        (["--optimizer", "adam", "--momentum", "0.5"], 1, "--momentum 0.5 belongs to adagrad and rmsprop"),
        (
            ["--family", "sasrec", "--heads", "3"],
            1,
            "no sasrec of this shape: hidden is 100, which 3 heads do not divide",
        ),
        (["--bpreg", "1"], 1, "--bpreg 1.0 belongs to bpr-max"),
        (["--elu", "0.5"], 1, "--elu 0.5 belongs to bpr-max"),
        (["--input", "one-hot", "--dropout-embedding", "0.5"], 1, "one-hot input has none"),
        (["--device", "cuda:99"], 1, "--device='cuda:99': torch sees"),
        (["--device", "tpu"], 1, "--device='tpu' is no device: use auto, cpu, cuda or cuda:N"),
        (["--min-support", "99999"], 1, "is left with item support ≥ 99999"),
        (["--split", "none"], 1, "has no split 'none'"),
        (["--since", "7d"], 1, "--since chooses clicks of the topic"),
        (["--until", "7d"], 1, "--until chooses clicks of the topic"),
        (["--since", "1d", "--until", "24h"], 1, "--until 24h leaves out all that --since 1d takes"),
        (["--out", "."], 1, "--out . exists and is no model bundle"),
        (
            ["--publish", "--family", "narm", "--window", "51"],
            1,
            "narm with window = 51 reads the last 51 items of a session, and NEXTCLICK_SESSION_HISTORY=50 keeps fewer",
        ),
        (["--config", "nope.toml"], 1, "--config nope.toml cannot be read"),
        (["--preset", "nope"], 2, "there is no preset 'nope', only diginetica, "),
        (["--loss", "hinge"], 2, "--loss"),
        (["--batch-size", "0"], 2, "--batch-size"),
        (["--since", "soon"], 2, "--since"),
        (["--until", "soon"], 2, "--until"),
        (["--session-gap", "soon"], 2, "--session-gap"),
        (["--learning-rate", "1e30"], 1, "lower --learning-rate"),
    ],
)
def test_a_failure_is_one_line(
    nextclick: Command, clicks_file: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "something").touch()
    result = nextclick("train", "--clicks", clicks_file, *arguments)
    assert result.code == code, result.stderr
    assert message in result.stderr
    if code == 1:
        assert result.stderr.strip().splitlines()[-1].startswith("nextclick: ")
        assert "Traceback" not in result.stderr


def test_sessions_of_a_file_are_cut_where_asked_for(nextclick: Command, clicks_file: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(clicks_file)
    later = frame.with_columns(
        session_id=pl.lit(1), timestamp=pl.col("session_id") * 3_600_000 + pl.col("timestamp") % 5
    )
    later.write_parquet(tmp_path / "one.parquet")
    arguments = "train --clicks one.parquet --epochs 1 --samples 8 --hidden 4 --out bundle"
    for options, sessions in (([], 1), (["--session-gap", "30m"], 300), (["--session-gap", "2h"], 1)):
        assert nextclick(*arguments.split(), *options).code == 0
        span = read_bundle(tmp_path / "bundle").trained_on
        assert span is not None
        assert span.sessions == sessions


def test_the_checkpoint_goes_once_the_bundle_is_written(nextclick: Command, clicks_file: Path, tmp_path: Path) -> None:
    arguments = ["--clicks", clicks_file, "--epochs", 1, "--samples", 8, "--hidden", 4, "--checkpoint", "kept"]
    assert nextclick("train", *arguments, "--out", "bundle").code == 0
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item_id": ["x"] * 1500}, "all clicks are on one item"),
        ({"session_id": list(range(1500))}, "is left with item support"),
    ],
)
def test_clicks_that_cannot_be_learnt_from(
    nextclick: Command, clicks_file: Path, tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    pl.read_parquet(clicks_file).with_columns(
        **{name: pl.Series(values) for name, values in columns.items()}
    ).write_parquet(tmp_path / "c.parquet")
    result = nextclick("train", "--clicks", "c.parquet")
    assert result.code == 1
    assert message in result.stderr.strip().splitlines()[-1]


def test_a_misspelt_option_in_the_config_file_is_named(nextclick: Command, tmp_path: Path, clicks_file: Path) -> None:
    (tmp_path / "c.toml").write_text("learning-rat = 0.1\n")
    result = nextclick("train", "--clicks", clicks_file, "--config", "c.toml")
    assert result.code == 1
    assert "learning-rat is no option of train: it takes " in result.stderr


def test_the_seed_decides_the_bundle(clicks_file: Path) -> None:
    clicks = read_click_file(clicks_file, ["train"])
    first, second = (train(clicks, QUICK).bundle for _ in range(2))
    for name, tensor in first.model.state_dict().items():
        assert tensor.equal(second.model.state_dict()[name]), name
    assert first.version != second.version


def test_a_model_of_numbers_is_judged_on_clicks_of_texts(clicks_file: Path) -> None:
    frame = read_click_file(clicks_file).frame.with_columns(pl.col("item_id").str.strip_prefix("item-").cast(pl.Int64))
    clicks = read_click_file(clicks_file)
    numbers = type(clicks)(frame, "numbers")
    texts = type(clicks)(frame.with_columns(pl.col("item_id").cast(pl.String)), "texts")
    bundle = train(numbers, QUICK).bundle
    assert evaluate_bundle(bundle, texts) == evaluate_bundle(bundle, numbers)
