import json
from pathlib import Path

import pytest

from trainer.evaluation.full_ranking import Evaluation
from trainer.studies.compare.files import write_files
from trainer.studies.compare.methods import Outcome
from trainer.studies.compare.table import Figure, markdown, table


def outcome(recall: float, mrr: float, train: float = 2.0, rank: float = 4.0) -> Outcome:
    return Outcome(Evaluation(100, {20: recall}, {20: mrr}), train, 600, rank)


OUTCOMES = {"item-knn": [outcome(0.4, 0.2)], "gru": [outcome(0.5, 0.2, 1, 1), outcome(0.6, 0.3, 3, 3)]}


def test_means_spreads_gains_and_rates() -> None:
    knn, gru = table(OUTCOMES)
    assert (knn.recall, knn.recall_gain) == (Figure(0.4, None), 0)
    assert gru.recall.mean == pytest.approx(0.55)
    assert gru.recall.spread == pytest.approx(0.0707107, rel=1e-5)  # standard deviation of a sample: n - 1
    assert gru.recall_gain == pytest.approx(0.375)
    assert gru.mrr_gain == pytest.approx(0.25)
    assert (gru.train_seconds, gru.trained_per_second, gru.ranked_per_second) == (2, 300, 50)


def test_rates_are_short() -> None:
    fast = [outcome(0.1, 0.1, train=600 / 383_209_915, rank=100 / 22_071)]
    assert table({"pop": fast})[0].cells[-2:] == ("383 M", "22.1 k")
    slow = [outcome(0.1, 0.1, train=600 / 999_950, rank=100 / 0.25)]
    assert table({"pop": slow})[0].cells[-2:] == ("1,000 k", "0.25")


@pytest.mark.parametrize("outcomes", [{"pop": [outcome(0.1, 0.1)]}, {"item-knn": [outcome(0, 0)]}])
def test_without_a_yardstick_there_is_no_gain(outcomes: dict[str, list[Outcome]]) -> None:
    (row,) = table(outcomes)
    assert row.recall_gain is row.mrr_gain is None
    assert "None" not in markdown([row], "x")


def test_files(tmp_path: Path) -> None:
    rows = table(OUTCOMES)
    assert [path.name for path in write_files(rows, "shop", tmp_path)] == [
        "comparison.md",
        "comparison.json",
        "comparison.svg",
    ]
    text = (tmp_path / "comparison.md").read_text()
    assert "| gru | 2 | 0.5500 ± 0.0707 | +37.5 % | 0.2500 ± 0.0707 | +25.0 % | 2.0 | 300 | 50 |" in text
    figures = json.loads((tmp_path / "comparison.json").read_text())
    assert figures["methods"][1]["recall"]["mean"] == pytest.approx(0.55)
    picture = (tmp_path / "comparison.svg").read_text()
    assert "</svg>" in picture
    assert "gru" in picture
