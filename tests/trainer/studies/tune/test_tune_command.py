from pathlib import Path

import polars as pl
import pytest
import torch

from clicklog.click_files import read_click_file
from clicklog.clicks import Clicks
from clicklog.sessions import sessions_of
from clicklog.splits import newest_share
from rankers.bundle import read_bundle
from tests.command_line import Command
from trainer.config import FitConfig, TrainConfig
from trainer.evaluation.full_ranking import evaluate
from trainer.settings_file import read_train_config
from trainer.studies.tune import search as module
from trainer.studies.tune.space import read_space
from trainer.train import train

pytestmark = pytest.mark.usefixtures("compiled_kernel")


@pytest.fixture
def tune(nextclick: Command, shop_file: Path, tmp_path: Path) -> Command:
    (tmp_path / "base.toml").write_text("batch-size = 16\nsamples = 16\nepochs = 3\nhidden = 8\nlearning-rate = 0.1\n")
    return lambda *arguments: nextclick(
        "tune", "--clicks", shop_file, "--config", "base.toml", "--search", "learning-rate=0.0001..0.5", *arguments
    )


def test_what_is_found_can_be_trained(tune: Command, nextclick: Command, shop_file: Path, tmp_path: Path) -> None:
    code, output, errors = tune("--split", "train", "--trials", 4)
    assert code == 0, errors
    assert errors.count("trial ") >= 4
    found = read_train_config(tmp_path / "best.toml")
    assert found.hidden == 8
    assert found.fit.samples == 16
    assert "Recall@20" in output
    code, _, errors = nextclick(
        "train", "--clicks", shop_file, "--split", "train", "--config", "best.toml", "--out", "bundle"
    )
    assert code == 0, errors
    assert read_bundle(tmp_path / "bundle").settings["learning_rate"] == found.fit.learning_rate


def test_any_family_is_tuned(tune: Command, nextclick: Command, shop_file: Path, tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("family = 'narm'\nepochs = 1\nsamples = 16\nhidden = 8\n")
    code, _, errors = tune("--trials", 2, "--search", "window=2..4")
    assert code == 0, errors
    found = read_train_config(tmp_path / "best.toml")
    assert found.family == "narm"
    assert 2 <= found.window <= 4
    assert nextclick("train", "--clicks", shop_file, "--config", "best.toml", "--out", "bundle").code == 0
    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.needs.history == bundle.settings["window"] == found.window
    assert not {"input", "reset", "layers", "heads"} & bundle.settings.keys(), "what a narm does not have"


def test_a_family_that_counts_is_tuned(nextclick: Command, shop_file: Path, tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("family = 'stan'\nnewest = 50\n")
    code, output, errors = nextclick("tune", "--clicks", shop_file, "--config", "base.toml", "--trials", 3)
    assert code == 0, errors
    assert "epoch" not in output + errors
    found = read_train_config(tmp_path / "best.toml")
    assert (found.family, found.window) == ("stan", 50)
    assert f"k = {found.k}" in output


def test_a_blend_is_tuned(nextclick: Command, shop_file: Path, tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("family = 'blend'\nepochs = 2\nsamples = 16\nhidden = 8\n")
    arguments = ("--clicks", shop_file, "--config", "base.toml", "--search", "k=5|50", "--search", "learning-rate")
    code, output, errors = nextclick("tune", *arguments, "--trials", 2)
    assert code == 0, errors
    found = read_train_config(tmp_path / "best.toml")
    assert (found.family, found.network, found.fit.epochs) == ("blend", "gru4rec", 2), "most epochs; training chooses"
    assert f"k = {found.k}" in output
    assert found.k in (5, 50)
    assert nextclick("train", "--clicks", shop_file, "--config", "best.toml", "--out", "bundle").code == 0
    wrong = nextclick("tune", *arguments, "--search", "network=gru4rec|narm", "--trials", 2)
    assert "'network' cannot be searched" in wrong.stderr


def test_a_blend_that_cannot_be_trained_has_not_diverged(nextclick: Command, shop_file: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.toml"
    arguments = ("--clicks", shop_file, "--config", "base.toml", "--search", "k=5|50", "--trials", 1)
    base.write_text("family = 'blend'\nnetwork = 'sasrec'\nhidden = 8\nheads = 3\n")
    code, _, errors = nextclick("tune", *arguments)
    assert code == 1
    assert "trial 0: there is no sasrec of this shape" in errors
    assert "nextclick: none of 1 trials could be trained, the last one because there is no sasrec of this" in errors
    base.write_text("family = 'blend'\nepochs = 1\nsamples = 16\nhidden = 8\nlearning-rate = 1e30\n")
    code, _, errors = nextclick("tune", *arguments, "--journal", "diverged.journal")
    assert code == 1
    assert "nextclick: all 1 trials diverged: search lower values of learning-rate" in errors
    base.write_text("family = 'blend'\nvalidate = 0\n")
    code, _, errors = nextclick("tune", *arguments, "--journal", "none.journal")
    assert code == 1
    assert errors.startswith("nextclick: base.toml: validate = 0: a blend fits its weight on the newest sessions")
    assert not (tmp_path / "none.journal").exists(), "before the first trial"


def test_the_figure_is_what_train_and_evaluate_would_give(tune: Command, shop_file: Path, tmp_path: Path) -> None:
    """The networks are judged with the weights of their epoch, on the newest tenth of the sessions."""
    code, output, errors = tune("--split", "train", "--trials", 1, "--metric", "mrr")
    assert code == 0, errors
    clicks = read_click_file(shop_file, ["train"])
    older, newer = newest_share(clicks.frame, 0.1)
    assert older["session_id"].n_unique() == 216
    best = read_train_config(tmp_path / "best.toml", TrainConfig(FitConfig(seed=0), device="cpu"))
    bundle = train(type(clicks)(older, "older"), best).bundle
    figures = evaluate(bundle.ranker(torch.device("cpu")), sessions_of(newer, bundle.items))
    assert f"MRR@20 {figures.mrr[20]:.4f} in trial 0" in output


def test_the_file_has_the_best_trial_and_not_the_first(tune: Command, tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("batch-size = 16\nsamples = 16\nepochs = 3\nlearning-rate = 0.0001\n")
    code, output, errors = tune("--trials", 6)
    assert code == 0, errors
    found = read_train_config(tmp_path / "best.toml")
    assert found.fit.learning_rate > 0.001
    assert f"learning-rate = {found.fit.learning_rate:.4g}" in output
    assert f"epoch {found.fit.epochs}" in output


def test_the_first_trial_is_the_config_itself(tune: Command) -> None:
    _, output, errors = tune("--trials", 1)
    assert "trial 0: Recall@20" in errors
    assert "learning-rate 0.1" in errors
    assert "learning-rate = 0.1" in output


def test_a_stopped_search_goes_on(tune: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    run = module._run
    made: list[float] = []

    def stopped(*arguments: object) -> object:
        if len(made) == 3:
            made.append(0)
            raise KeyboardInterrupt
        result = run(*arguments)  # type: ignore[arg-type]
        made.append(arguments[1].params["learning-rate"])  # type: ignore[attr-defined]
        return result

    monkeypatch.setattr(module, "_run", stopped)
    assert tune("--trials", 5)[0] == 130
    code, _, errors = tune("--trials", 5)
    assert code == 0, errors
    assert len(made) == 6, "three before, the stopped one, two after"
    rates = [rate for rate in made if rate]
    assert len(set(rates)) == len(rates), "a search that goes on proposes no trial again"
    assert tune("--trials", 5)[0] == 0
    assert len(made) == 6


def test_a_trial_that_diverges_is_no_end(tune: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = module.fit

    def diverging(network, sessions, support, config, progress, after_epoch):  # type: ignore[no-untyped-def]
        if config.learning_rate != 0.1:
            raise module.DivergedError("the loss is nan")
        fit(network, sessions, support, config, progress, after_epoch=after_epoch)

    monkeypatch.setattr(module, "fit", diverging)
    code, output, errors = tune("--trials", 3)
    assert code == 0, errors
    assert "trial 1: diverged, given up" in errors
    assert "in trial 0" in output


def test_a_shape_that_does_not_exist_is_no_end(tune: Command, tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("family = 'sasrec'\nepochs = 1\nsamples = 16\nhidden = 8\n")
    code, _, errors = tune("--trials", 3, "--search", "heads=1|3|5")
    assert code == 0, errors
    assert "no sasrec of this shape: hidden is 8, which " in errors
    code, _, errors = tune("--trials", 2, "--search", "heads=3|5", "--journal", "other")
    assert code == 1
    assert "none of 2 trials could be trained, the last one because there is no sasrec of this shape" in errors


def test_poor_trials_are_given_up(tune: Command) -> None:
    code, _, errors = tune("--trials", 12, "--epochs", 4)
    assert code == 0, errors
    assert ", given up: learning-rate" in errors


def test_the_test_split_has_no_part(nextclick: Command, shop_file: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(shop_file)
    frame.filter(pl.col("split") == "train").write_parquet(tmp_path / "train.parquet")
    arguments = ["--config", "base.toml", "--search", "momentum=0..0.5", "--trials", 2]
    _, whole, _ = nextclick("tune", "--clicks", shop_file, "--split", "train", "--journal", "a", *arguments)
    _, alone, _ = nextclick("tune", "--clicks", "train.parquet", "--journal", "b", *arguments)
    assert whole.splitlines()[:-1] == alone.splitlines()[:-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--search", "rate=1..2"], "'rate' cannot be searched"),
        (["--journal", "."], ". cannot be used as a journal of trials"),
        (["--journal", "base.toml"], "base.toml cannot be used as a journal of trials"),
        (["--validation", "0.001"], "leaves none on one side"),
        (["--config", "none.toml"], "none.toml cannot be read"),
        (["--config", "validated.toml"], "validated.toml: validate = 0.2: the share to judge on is --validation here"),
        (["--out", "no/folder.toml", "--trials", "1"], "no/folder.toml cannot be written"),
        (["--device", "tpu"], "--device='tpu' is no device: use auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_failure_is_one_line(tune: Command, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "validated.toml").write_text("validate = 0.2\n")
    code, _, errors = tune(*arguments)
    assert code == 1
    assert message in errors
    assert errors.strip().splitlines()[-1].startswith("nextclick: ")


def test_a_journal_from_before_there_were_families_is_gone_on_with() -> None:
    frame = pl.DataFrame({"session_id": [1, 1, 2, 2], "item_id": [3, 4, 4, 3], "timestamp": [1, 2, 3, 4]})
    fit = FitConfig(
        loss="cross-entropy",
        batch_size=64,
        samples=32,
        sample_alpha=0.5,
        logq=1.0,
        optimizer="adagrad",
        learning_rate=0.1,
        momentum=0.2,
        dropout_hidden=0.4,
        dropout_embedding=0.0,
        order="time",
        epochs=3,
    )
    config = TrainConfig(fit, input="shared", hidden=8, layers=1, reset="after", min_support=1, min_length=2)
    digest = module._fingerprint(Clicks(frame, "test"), config, read_space(["momentum=0..0.5"], config), 0.1, "recall")
    assert digest == "16c48f62236de738620cb04c", "as version 0.1 computes it"


def test_a_journal_of_another_search_is_refused(tune: Command) -> None:
    assert tune("--trials", 1)[0] == 0
    code, _, errors = tune("--trials", 2, "--validation", 0.2)
    assert code == 1
    assert "tune.journal holds the trials of another search" in errors
