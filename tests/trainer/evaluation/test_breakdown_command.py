import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from clicklog.items import ItemIndex
from rankers.bundle import Bundle, new_version, write_bundle
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from tests.command_line import Command


@pytest.fixture(autouse=True)
def bundle_and_clicks(tmp_path: Path) -> None:
    """A bundle of 30 items, and 40 sessions of clicks."""
    torch.manual_seed(0)
    support = np.arange(60, 0, -2)
    network = GRU4Rec(NetworkConfig(items=30, hidden=4)).requires_grad_(False).eval()
    write_bundle(Bundle(new_version(), network, ItemIndex(list(range(30)), support)), tmp_path / "bundle")
    random = np.random.default_rng(0)
    rows = [(session, int(random.integers(31)), click) for session in range(40) for click in range(1 + session % 9)]
    pl.DataFrame(rows, schema=["session_id", "item_id", "timestamp"], orient="row").write_parquet(
        tmp_path / "clicks.parquet"
    )


def test_the_groups_add_up_to_what_evaluate_says(nextclick: Command, tmp_path: Path) -> None:
    shared = ["--model", "bundle", "--clicks", "clicks.parquet"]
    assert nextclick("evaluate", *shared, "--json", "whole.json")[0] == 0
    code, output, errors = nextclick("breakdown", *shared, "--json", "parts.json", "--cutoffs", "20,5")
    assert code == 0, errors
    whole = json.loads((tmp_path / "whole.json").read_text())
    parts = json.loads((tmp_path / "parts.json").read_text())
    intervals = parts.pop("intervals")
    assert len(parts) == 3
    for groups in parts.values():
        assert sum(group["events"] for group in groups.values()) == whole["events"]
        for cutoff in ("5", "20"):
            for metric in ("recall", "mrr"):
                total = sum(group["events"] * group[metric][cutoff] for group in groups.values())
                assert total / whole["events"] == pytest.approx(whole[metric][cutoff])
    interval = intervals["recall"]["20"]
    assert interval["low"] < interval["value"] < interval["high"]
    assert interval["value"] == pytest.approx(whole["recall"]["20"])
    assert f"Recall@20  {interval['value']:.4f}  {interval['low']:.4f} to {interval['high']:.4f}" in output


def test_without_draws_there_are_no_intervals(nextclick: Command) -> None:
    code, output, _ = nextclick("breakdown", "--model", "bundle", "--clicks", "clicks.parquet", "--draws", 0)
    assert code == 0
    assert "intervals" not in output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--cutoffs", "0,5"], 2, "--cutoffs"),
        (["--cutoffs", "a"], 2, "--cutoffs"),
        (["--clicks", "none.parquet"], 1, "none.parquet does not exist"),
        (["--model", "none"], 1, "none"),
        (["--json", "no/folder.json"], 1, "--json no/folder.json cannot be written"),
    ],
)
def test_what_is_wrong_is_named(nextclick: Command, arguments: list[str], code: int, message: str) -> None:
    found, _, errors = nextclick("breakdown", "--model", "bundle", "--clicks", "clicks.parquet", *arguments)
    assert found == code
    assert message in errors
