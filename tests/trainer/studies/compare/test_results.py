from pathlib import Path

import pytest

from schemas.errors import TrainingError
from trainer.evaluation.full_ranking import Evaluation
from trainer.studies.compare.methods import Outcome
from trainer.studies.compare.results import Results, run_key

OUTCOME = Outcome(Evaluation(7, {1: 0.25, 20: 0.5}, {1: 0.25, 20: 0.3}), 1.5, 70, 0.125)


def test_a_finished_run_is_found_again(tmp_path: Path) -> None:
    Results(tmp_path / "runs.jsonl").add("k1", "pop", {"method": "pop"}, 1, OUTCOME)
    again = Results(tmp_path / "runs.jsonl")
    assert again.find("k1") == OUTCOME
    assert again.find("k2") is None


def test_a_torn_last_line_is_dropped_and_the_next_run_does_not_stick_to_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    Results(path).add("k1", "pop", {}, 1, OUTCOME)
    path.write_bytes(path.read_bytes() + path.read_bytes()[:40])
    results = Results(path)
    assert results.find("k1") == OUTCOME
    results.add("k2", "s-pop", {}, 1, OUTCOME)
    again = Results(path)
    assert (again.find("k1"), again.find("k2")) == (OUTCOME, OUTCOME)


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text('{"a": 1}\nshopping list\n')
    with pytest.raises(TrainingError, match=r"line 1 of .* is no finished run"):
        Results(tmp_path / "runs.jsonl")


def test_the_key_knows_data_settings_and_seed_and_nothing_else() -> None:
    base = run_key({"sha256": "x"}, {"method": "pop", "k": 1}, 1)
    assert base == run_key({"sha256": "x"}, {"k": 1, "method": "pop"}, 1)
    assert base != run_key({"sha256": "y"}, {"method": "pop", "k": 1}, 1)
    assert base != run_key({"sha256": "x"}, {"method": "pop", "k": 2}, 1)
    assert base != run_key({"sha256": "x"}, {"method": "pop", "k": 1}, 2)
