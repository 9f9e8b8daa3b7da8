from pathlib import Path

import pytest

from schemas.errors import SettingsError
from trainer.config import FitConfig, TrainConfig
from trainer.settings_file import read_train_config, train_options, with_options, write_train_config


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_for_train_is_read_without_where_it_reads_and_writes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.toml", "batch-size = 128\nlearning_rate = 0.05\nhidden = 7\nsplit = 'train'\n")
    assert read_train_config(path) == TrainConfig(FitConfig(batch_size=128, learning_rate=0.05), hidden=7)


def test_what_the_file_does_not_name_comes_from_the_base(tmp_path: Path) -> None:
    base = TrainConfig(FitConfig(epochs=3), layers=2)
    read = read_train_config(written(tmp_path / "a.toml", "samples = 9\n"), base)
    assert read == TrainConfig(FitConfig(epochs=3, samples=9), layers=2)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    config = TrainConfig(FitConfig(learning_rate=0.0712, samples=100, epochs=2), hidden=12)
    path = tmp_path / "best.toml"
    write_train_config(train_options(config), path, "found by a search\nof two lines")
    assert path.read_text().startswith("# found by a search\n# of two lines\n")
    assert read_train_config(path) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning-rat = 0.1", r"a.toml: learning-rat is no option of a model: there are age-decay, batch-size, "),
        ("samples = 'many'", r"a.toml: samples = 'many': input should be a valid integer"),
        ("epochs = 2.5", r"epochs = 2.5: "),
        ("loss = 'hinge'", r"loss = 'hinge': input should be "),
        ("batch-size = 0", r"batch-size = 0: input should be greater than or equal to 1"),
        ("dropout-hidden = 1.0", r"dropout-hidden = 1.0: input should be less than 1"),
        ("learning-rate = -0.1", r"learning-rate = -0.1: input should be greater than 0"),
        ("family = ['narm']", r"a.toml: family = \['narm'\]: input should be 'gru4rec', 'narm', "),
        ("family = 'bert4rec'", r"family = 'bert4rec': input should be 'gru4rec', 'narm', "),
        ("family = 'blend'\nvalidate = 0", r"a\.toml: validate = 0: a blend fits its weight on the newest sessions"),
        ("validate = 0.95", r"validate = 0.95: input should be less than or equal to 0.9"),
        ("reset = 'never'", r"reset = 'never': input should be 'after' or 'before'"),
        ("= 3", r"a.toml cannot be read: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_train_config(written(tmp_path / "a.toml", text))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_train_config(tmp_path / "none.toml")


def test_the_original_is_not_changed() -> None:
    config = TrainConfig()
    with_options(config, {"epochs": 1})
    assert config == TrainConfig()
