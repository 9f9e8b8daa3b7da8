from dataclasses import asdict, replace
from pathlib import Path

import pytest

from clicklog.click_files import read_click_file
from rankers.families import is_counted
from trainer.config import TrainConfig
from trainer.preset_files import PRESETS as PRESETS_BY_NAME
from trainer.presets import DEFAULT, FAMILY_DEFAULTS, PAPER, PUBLISHED, RETRAINING
from trainer.settings_file import read_train_config
from trainer.train import train

NETWORKS = {name: config for name, config in FAMILY_DEFAULTS.items() if not is_counted(name)}
PRESETS = {**NETWORKS, "retraining": RETRAINING, "published": PUBLISHED, **PAPER}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_learns(name: str, shop_file: Path) -> None:
    config = replace(PRESETS[name], fit=replace(PRESETS[name].fit, epochs=3, batch_size=16), hidden=16, device="cpu")
    losses = train(read_click_file(shop_file, ["train"]), config).fit.losses
    assert losses[2] < losses[1] < losses[0]


def test_the_presets_differ_from_the_defaults_in_what_their_names_say() -> None:
    def changed(config: TrainConfig) -> dict[str, object]:
        options, usual = ({**asdict(each), **asdict(each.fit)} for each in (config, DEFAULT))
        return {name: value for name, value in options.items() if value != usual[name] and name != "fit"}

    assert TrainConfig() == DEFAULT
    assert changed(RETRAINING) == {"samples": 512}
    assert changed(PUBLISHED) == {"batch_size": 32, "learning_rate": 0.2}
    for loss, config in PAPER.items():
        assert config.fit.loss == loss
        assert (config.input, config.reset, config.fit.samples, config.fit.logq) == ("one-hot", "before", 0, 0)
    lines = Path("docs/paper.md").read_text().splitlines()
    for title, loss in (("TOP1, 100 units", "top1"), ("BPR, 100", "bpr"), ("cross-entropy, 100", "cross-entropy")):
        (row,) = [line for line in lines if line.startswith(f"| {title} |")]
        fit = PAPER[loss].fit
        numbers = (fit.batch_size, fit.dropout_hidden, fit.learning_rate, fit.momentum)
        assert [float(text) for text in row.split("|")[2].split(",")] == list(numbers)


@pytest.mark.parametrize("name", PRESETS_BY_NAME)
def test_a_preset_that_ships_is_what_train_takes(name: str) -> None:
    config = read_train_config(PRESETS_BY_NAME[name])
    assert config.family == "blend"
    assert config != FAMILY_DEFAULTS["blend"]
