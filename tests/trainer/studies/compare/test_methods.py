from dataclasses import replace
from pathlib import Path

import pytest

from clicklog.click_files import read_click_file
from nextclick.commands.compare import ALL
from rankers.baselines import BASELINES
from rankers.families import FAMILIES
from schemas.errors import SettingsError
from trainer.config import FitConfig, TrainConfig
from trainer.studies.compare.methods import Comparison, FamilyMethod, read_methods
from trainer.studies.compare.results import run_key
from trainer.train import evaluate_bundle, train

pytestmark = pytest.mark.usefixtures("compiled_kernel")


@pytest.fixture
def comparison(shop_file: Path) -> Comparison:
    return Comparison(read_click_file(shop_file, ["train"]), read_click_file(shop_file, ["test"]))


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    path = tmp_path / "quick.toml"
    path.write_text("batch-size = 16\nsamples = 16\nepochs = 3\nhidden = 16\nmin-support = 99\n")
    return path


def test_all_judge_the_same_events(comparison: Comparison, quick: Path) -> None:
    """The comparison's min-support applies, not that of a network's file."""
    chosen = read_methods(["pop", "markov", "vs-knn", f"own={quick}"])
    outcomes = [method.run(comparison, 1, lambda _doing, _share: None) for method in chosen]
    assert {outcome.evaluation.events for outcome in outcomes} == {240}
    assert outcomes[0].evaluation.recall[1] < 0.1
    assert outcomes[1].evaluation.recall[1] > 0.7
    assert outcomes[3].trained_events == 3 * 960


def test_a_network_reaches_what_train_and_evaluate_say(comparison: Comparison, quick: Path) -> None:
    (network,) = read_methods([f"own={quick}"])
    outcome = network.run(comparison, 4, lambda _doing, _share: None)
    config = network.config  # type: ignore[attr-defined]
    bundle = train(
        comparison.train, type(config)(type(config.fit)(**{**vars(config.fit), "seed": 4}), hidden=16)
    ).bundle
    expected = evaluate_bundle(bundle, comparison.test, "cpu")
    assert outcome.evaluation.recall == expected.recall
    assert outcome.evaluation.mrr == pytest.approx(expected.mrr)


def test_a_blend_is_a_method(comparison: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "blend.toml"
    path.write_text("family = 'blend'\nbatch-size = 16\nsamples = 16\nepochs = 2\nhidden = 8\n")
    (blend,) = read_methods([f"own={path}"])
    outcome = blend.run(comparison, 1, lambda _doing, _share: None)
    assert outcome.evaluation.events == 240
    assert outcome.evaluation.recall[20] > 0.8
    assert 2 * 864 + 960 <= outcome.trained_events <= 2 * (864 + 960), "of both fits"
    assert blend.seeded
    assert {blend.settings[name] for name in ("method", "network", "neighbours")} == {"blend", "gru4rec", "stan"}


def test_the_settings_tell_runs_apart(quick: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(quick.read_text() + "learning-rate = 0.01\n")
    first, second, plain = read_methods([f"a={quick}", f"b={other}", "gru4rec"])
    assert first.settings != second.settings
    assert first.settings != plain.settings
    assert "min-support" not in first.settings, "it is the comparison's"
    assert [one.seeded for one in read_methods(["pop", "fpmc", "gru4rec", "stan"])] == [False, True, True, False]


def test_all_methods_that_there_are_are_compared_by_default() -> None:
    assert ALL.split(",") == [*BASELINES, *FAMILIES]


def test_runs_from_before_there_were_families_are_found_again() -> None:
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
    method = FamilyMethod("own", TrainConfig(fit, input="shared", hidden=8, layers=1, reset="after"))
    assert run_key({}, method.settings, 1) == "fa25565698c20d9709efc24a", "as version 0.1 computes it"
    assert FamilyMethod("own", replace(method.config, validate=0.1)).settings["validate"] == 0.1


def test_a_family_is_a_method_with_its_own_defaults() -> None:
    methods = read_methods(["gru4rec", "narm", "stamp", "sasrec"])
    assert [method.settings["method"] for method in methods] == ["gru4rec", "narm", "stamp", "sasrec"]
    assert "window" in methods[1].settings
    assert "window" not in methods[0].settings
    assert all(method.seeded for method in methods)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["pop", "nope"],
            "there is no method 'nope': choose from pop, s-pop, .*, stan, blend, or write NAME=FILE.toml",
        ),
        (["pop", "pop"], "two methods are called pop"),
        ([], "no method is named"),
        (["pop=a.toml"], "is named as you like, but not 'pop'"),
        (["own=missing.toml"], "missing.toml cannot be read"),
    ],
)
def test_a_wrong_choice_is_named(names: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_methods(names)
