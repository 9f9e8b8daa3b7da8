"""`benchmarks.recbole` on a machine without RecBole, and the clicks that it gives to RecBole."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import recbole
from benchmarks.recbole_model import INTERACTIONS, last_items, write_interactions


@pytest.mark.parametrize(
    ("python", "said"),
    [
        (sys.executable, f"--recbole-python {sys.executable} has no RecBole: install recbole==1.2.1 with numpy<2"),
        ("/nowhere/python", "--recbole-python /nowhere/python cannot be run: No such file or directory"),
    ],
)
def test_without_recbole_one_line_says_what_to_install(
    python: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["recbole", "--data", str(tmp_path / "none.parquet"), "--recbole-python", python])
    with pytest.raises(SystemExit) as ended:
        recbole.main()
    assert str(ended.value.code).startswith(said)
    assert "\n" not in str(ended.value.code)


def test_recbole_trains_and_ranks_with_the_last_items_before_each_click(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    write_interactions(np.array([7, 8, 9, 5, 7]), np.array([0, 3, 5]), window=1)
    assert Path(INTERACTIONS).read_text().splitlines()[1:] == ["0\t7\t8", "0\t8\t9", "1\t5\t7"]
    padded, length = last_items(np.array([7, 7, 8, 9]), np.array([0, 1, 4]), width=2)
    assert padded.tolist() == [[7, 0], [8, 9]]
    assert length.tolist() == [1, 2]
