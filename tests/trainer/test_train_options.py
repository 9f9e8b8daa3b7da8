"""The options of `train` on the command line and in files, against the ranges and texts that users rely on."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from rankers.families import FAMILIES
from schemas.errors import SettingsError
from tests.command_line import Command
from trainer.config import FitConfig, TrainConfig
from trainer.options import OPTIONS
from trainer.presets import FAMILY_DEFAULTS, RETRAINING
from trainer.settings_file import RUN, read_train_config, with_options

LOSSES = "<cross-entropy|bpr|top1|bpr-max|top1-max|binary-cross-entropy>"
SHOWN = {
    "loss": (LOSSES, "Training loss. [default: cross-entropy]"),
    "input": (
        "<shared|embedding|one-hot>",
        "A clicked item enters by its output row, its own embedding, or one-hot, shared by default.",
    ),
    "family": (
        "<gru4rec|narm|stamp|sasrec|vs-knn|stan|blend>",
        "Family of the model; the defaults shown here are those of gru4rec. [default: gru4rec]",
    ),
    "network": ("<gru4rec|narm|stamp|sasrec>", "blend: family of its network, gru4rec by default."),
    "neighbours": ("<vs-knn|stan>", "blend: family of its neighbours, stan by default."),
    "hidden": ("<int range> [x>=1]", "Hidden units of a layer, and numbers of an item's vector. [default: 100]"),
    "layers": ("<int range> [x>=1]", "GRU layers, or attention blocks, 1 by default."),
    "heads": ("<int range> [x>=1]", "sasrec: attention heads of a block, 1 by default."),
    "window": (
        "<int range> [x>=1]",
        "All but gru4rec: last clicks of a session that are read, 50 with vs-knn and stan (alone or beside gru4rec), "
        "20 by default.",
    ),
    "k": ("<int range> [x>=1]", "vs-knn, stan: neighbours, the most similar sessions, 500 by default."),
    "newest": (
        "<int range> [x>=1]",
        "vs-knn, stan: candidates, the newest sessions that share an item, 2500 by default.",
    ),
    "position-decay": ("<float range> [x>=1e-09]", "stan: clicks after which a click weighs 1/e, 1.0 by default."),
    "age-decay": (
        "<float range> [x>=1e-09]",
        "stan: share of the sessions after which one weighs 1/e, 1.0 by default.",
    ),
    "distance-decay": (
        "<float range> [x>=1e-09]",
        "stan: distance in clicks at which a neighbour's item weighs 1/e, 4.0 by default.",
    ),
    "reset": (
        "<after|before>",
        "The reset gate acts after the recurrent product, or before it as in the 2016 paper, after by default.",
    ),
    "batch-size": (
        "<int range> [x>=1]",
        "Clicks trained in a step, each of another session with gru4rec. [default: 128]",
    ),
    "samples": ("<int range> [x>=0]", "Negative samples a step. [default: 2048]"),
    "sample-alpha": ("<float range> [0<=x<=1]", "Negatives are drawn by support^alpha. [default: 0.5]"),
    "logq": ("<float range> [0<=x<=1]", "How far cross-entropy corrects for the items' popularity. [default: 1.0]"),
    "top-negatives": (
        "<int range> [x>=0]",
        "cross-entropy: negatives that count, the highest-scored; 0: all, by logq, 0 by default.",
    ),
    "optimizer": ("<adagrad|rmsprop|adam>", "Optimiser. [default: adagrad]"),
    "learning-rate": ("<float range> [x>=1e-09]", "Learning rate. [default: 0.05]"),
    "momentum": ("<float range> [0<=x<=0.999]", "Momentum of adagrad and rmsprop, 0.2 by default."),
    "dropout-hidden": ("<float range> [0<=x<=0.99]", "Share of a layer's output that is dropped. [default: 0.4]"),
    "dropout-embedding": ("<float range> [0<=x<=0.99]", "Share of the input embedding that is dropped. [default: 0.0]"),
    "bpreg": ("<float range> [x>=0]", "bpr-max: regularisation of the scores, 1.0 by default."),
    "elu": ("<float range> [x>=0]", "bpr-max: scores pass ELU with this parameter, 0.5 by default."),
    "order": ("<time|length|random>", "In which an epoch takes the sessions; length: longest first. [default: time]"),
    "epochs": ("<int range> [x>=1]", "Passes over the clicks. [default: 10]"),
    "seed": ("<int range> [x>=0]", "Of everything that is random. [default: 0]"),
    "validate": (
        "<float range> [0<=x<=0.9]",
        "Share of the sessions, the newest, that are not trained on but choose the best epoch; a blend (0.1 by "
        "default) also fits its weight on them, and is then trained on all sessions. [default: 0.0]",
    ),
    "min-support": ("<int range> [x>=1]", "Fewest clicks of an item. [default: 5]"),
    "min-length": ("<int range> [x>=2]", "Fewest clicks of a session. [default: 2]"),
    "device": ("<str>", "auto, cpu, cuda or cuda:N; NEXTCLICK_DEVICE by default."),
}


@pytest.fixture
def shown(nextclick: Command, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The help of `train`: option name → the text of its line."""
    monkeypatch.setenv("COLUMNS", "300")
    done = nextclick("train", "--help")
    assert done.code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    lines = re.findall(r"--([a-z-]+)\s+(.*?)\s*[│|]?$", plain, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in lines}


def test_the_help_shows_each_option_with_its_range_text_and_default(shown: dict[str, str]) -> None:
    for name, (values, text) in SHOWN.items():
        assert shown[name] == f"{values} {text}"
    assert {option.name for option in OPTIONS} == SHOWN.keys() - {"device"}


def test_a_file_for_train_may_have_every_option_that_the_help_shows(shown: dict[str, str], tmp_path: Path) -> None:
    runs = {name.replace("_", "-") for name in RUN}
    assert shown.keys() - {"config", "help", "preset"} == SHOWN.keys() | runs
    path = tmp_path / "run.toml"
    path.write_text("".join(f'{name} = "x"\n' for name in runs) + "hidden = 7\n")
    assert read_train_config(path) == TrainConfig(hidden=7)


@pytest.mark.parametrize("name", [option.name for option in OPTIONS])
def test_values_outside_the_range_are_wrong_usage_on_the_line_and_in_the_file(
    nextclick: Command, tmp_path: Path, name: str
) -> None:
    option = next(one for one in OPTIONS if one.name == name)
    outside: list[str | float] = ["hinge"] if option.low is None else [option.low - 1]
    if option.high is not None:
        outside.append(option.high + 0.0005)
    for value in outside:
        on_the_line = nextclick("train", "--clicks", "c.parquet", f"--{name}={value}")
        assert on_the_line.code == 2
        assert f"--{name}" in on_the_line.stderr
        (tmp_path / "c.toml").write_text(f"{name} = {value!r}\n")
        assert nextclick("train", "--clicks", "c.parquet", "--config", "c.toml").code == 2


def test_an_option_that_the_loss_or_the_optimiser_does_not_use_is_refused_from_a_file_too(
    nextclick: Command, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text("loss = 'top1'\nelu = 1.0\n")
    done = nextclick("train", "--clicks", "c.parquet", "--config", "c.toml")
    assert done.code == 1
    assert "--elu 1.0 belongs to bpr-max, and the loss is top1: leave it out" in done.stderr
    allowed = nextclick("train", "--clicks", "c.parquet", "--config", "c.toml", "--loss", "bpr-max")
    assert "c.parquet does not exist" in allowed.stderr, "the command line wins over the file"


def test_an_option_of_another_family_is_refused_on_the_line_and_in_files(nextclick: Command, tmp_path: Path) -> None:
    belongs = "layers 2 belongs to gru4rec and sasrec, and the family is narm: leave it out"
    on_the_line = nextclick("train", "--clicks", "c.parquet", "--family", "narm", "--layers", 2)
    assert (on_the_line.code, on_the_line.stderr) == (1, f"nextclick: {belongs}\n")
    path = tmp_path / "c.toml"
    path.write_text("family = 'narm'\nlayers = 2\n")
    assert f"nextclick: {belongs}" in nextclick("train", "--clicks", "c.parquet", "--config", "c.toml").stderr
    with pytest.raises(SettingsError, match=belongs):
        read_train_config(path, RETRAINING)
    for option, value in (("hidden", 64), ("epochs", 3), ("momentum", 0.5), ("bpreg", 1.0), ("validate", 0.1)):
        done = nextclick("train", "--clicks", "c.parquet", "--family", "stan", f"--{option}", value)
        line = f"{option} {value} belongs to gru4rec, narm, stamp and sasrec, and the family is stan: leave it out"
        assert (done.code, done.stderr) == (1, f"nextclick: {line}\n")
    counted = nextclick("train", "--clicks", "c.parquet", "--family", "vs-knn", "--age-decay", 2)
    assert "age-decay 2.0 belongs to stan, and the family is vs-knn: leave it out" in counted.stderr
    unknown = nextclick("train", "--clicks", "c.parquet", "--family", "bert4rec")
    assert unknown.code == 2
    assert "'bert4rec' is not one of 'gru4rec', 'narm', 'stamp'" in re.sub(r"[│\s]+", " ", unknown.stderr)


def test_a_blend_takes_the_options_and_defaults_of_its_parts(nextclick: Command) -> None:
    def refused(*options: object) -> str:
        done = nextclick("train", "--clicks", "c.parquet", "--family", "blend", *options)
        assert (done.code, done.stderr.count("\n")) == (1, 1)
        return done.stderr

    assert "c.parquet does not exist" in refused("--k", 50, "--hidden", 7, "--network", "sasrec", "--heads", 7)
    line = "heads 2 belongs to sasrec, and the family is blend of gru4rec and stan: leave it out"
    assert line in refused("--heads", 2)
    line = "age-decay 2.0 belongs to stan, and the family is blend of narm and vs-knn: leave it out"
    assert line in refused("--network", "narm", "--neighbours", "vs-knn", "--age-decay", 2)
    line = "elu 1.0 belongs to bpr-max, and the loss is cross-entropy: leave it out"
    assert line in refused("--elu", 1)
    alone = nextclick("train", "--clicks", "c.parquet", "--network", "narm")
    assert "network narm belongs to blend, and the family is gru4rec: leave it out" in alone.stderr
    unknown = nextclick("train", "--clicks", "c.parquet", "--family", "blend", "--network", "stan")
    assert unknown.code == 2

    own = FAMILY_DEFAULTS["sasrec"]
    config = with_options(TrainConfig(), {"family": "blend", "network": "sasrec", "k": 9})
    network, neighbours = config.parts
    assert network == replace(own, k=9, network="sasrec", validate=0.1)
    assert (neighbours.family, neighbours.k, neighbours.window) == ("stan", 9, own.window)
    assert with_options(config, {"network": "gru4rec"}) == replace(FAMILY_DEFAULTS["blend"], k=9)


def test_a_family_has_defaults_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("family = 'sasrec'\nhidden = 7\n")
    own = FAMILY_DEFAULTS["sasrec"]
    assert read_train_config(path) == replace(own, hidden=7)
    fewer = replace(own.fit, samples=RETRAINING.fit.samples)
    assert read_train_config(path, RETRAINING) == replace(own, fit=fewer, hidden=7), "a retraining's samples stay"
    assert {name: config.family for name, config in FAMILY_DEFAULTS.items()} == {name: name for name in FAMILIES}


def test_each_field_of_the_configuration_is_an_option() -> None:
    fields = {*FitConfig.__dataclass_fields__, *TrainConfig.__dataclass_fields__} - {"fit", "device"}
    assert {option.field for option in OPTIONS} == fields
