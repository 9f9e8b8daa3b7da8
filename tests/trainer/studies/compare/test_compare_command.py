import json
from pathlib import Path

import pytest

from tests.command_line import Command
from trainer.studies.compare import methods as module

pytestmark = pytest.mark.usefixtures("compiled_kernel")


@pytest.fixture
def compare(nextclick: Command, tmp_path: Path, shop_file: Path) -> Command:
    (tmp_path / "own.toml").write_text("batch-size = 16\nsamples = 16\nepochs = 2\nhidden = 8\n")
    (tmp_path / "narm.toml").write_text("family = 'narm'\n" + (tmp_path / "own.toml").read_text())
    return lambda *arguments: nextclick("compare", "--clicks", shop_file, *arguments)


def test_the_table_is_printed_and_written(compare: Command, tmp_path: Path) -> None:
    code, output, errors = compare("--methods", "pop,item-knn,markov,own=own.toml,ours=narm.toml", "--seeds", 2)
    assert code == 0, errors
    for name in ("pop", "item-knn", "markov", "own", "ours"):
        assert f"\n  {name} " in output
    figures = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    seeds = {method["name"]: method["seeds"] for method in figures["methods"]}
    assert seeds == {"pop": 1, "item-knn": 1, "markov": 1, "own": 2, "ours": 2}
    assert "own, seed 2: Recall@20" in errors


def test_a_stopped_comparison_goes_on_where_it_was(compare: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    run = module.BaselineMethod.run
    made = []

    def recorded(self: module.BaselineMethod, *arguments: object) -> module.Outcome:
        made.append(self.name)
        if len(made) == 3:
            raise KeyboardInterrupt
        return run(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module.BaselineMethod, "run", recorded)
    code, _, _ = compare("--methods", "pop,s-pop,markov,item-knn")
    assert code == 130
    code, _, errors = compare("--methods", "pop,s-pop,markov,item-knn")
    assert code == 0
    assert made == ["pop", "s-pop", "markov", "markov", "item-knn"]
    assert "s-pop: kept from before" in errors
    assert compare("--methods", "pop,markov", "--min-support", 4)[0] == 0
    assert made[5:] == ["pop", "markov"], "other filters, other runs"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "pop,nope"], "there is no method 'nope'"),
        (["--test-split", "none"], "has no split 'none'"),
        (["--min-support", "9999"], "pop: none of 1200 clicks is left"),
        (["--out", "own.toml"], "--out own.toml is no folder to write to"),
        (["--methods", "own=gone.toml"], "gone.toml cannot be read"),
    ],
)
def test_a_failure_is_one_line(compare: Command, arguments: list[str], message: str) -> None:
    code, _, errors = compare(*arguments)
    assert code == 1
    assert message in errors
    assert errors.strip().splitlines()[-1].startswith("nextclick: ")
