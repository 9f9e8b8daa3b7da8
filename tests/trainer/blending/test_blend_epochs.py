"""The second fit of a blend has the epochs that were the best in the first one."""

from dataclasses import replace
from pathlib import Path

import pytest

from clicklog.click_files import read_click_file
from trainer.presets import blend_defaults
from trainer.train import train

pytestmark = pytest.mark.usefixtures("compiled_kernel", "compiled_blend")


def test_the_second_fit_has_the_best_number_of_epochs_of_the_first(
    shop_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([(0.3, 0.1), (0.4, 0.1), (0.2, 0.1)])
    monkeypatch.setattr("trainer.train._judge", lambda *_: next(figures))
    usual = blend_defaults("gru4rec")
    config = replace(usual, fit=replace(usual.fit, epochs=3, batch_size=16, samples=16), hidden=8, device="cpu")
    trained = train(read_click_file(shop_file, ["train"]), config)
    assert len(trained.fit.losses) == 2
