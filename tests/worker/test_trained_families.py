"""Every family from the command line to the answers: trained, evaluated, announced, swapped in, and served."""

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from tests.command_line import CommandLine
from tests.worker.deployment import Deployment, clicks_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployments"), pytest.mark.usefixtures("compiled_scorer")]

QUICK = ("--epochs", "2", "--hidden", "16", "--samples", "32", "--min-support", "1")


def test_each_family_is_trained_and_then_serves_what_evaluate_says(
    deployment: Deployment, command_line: CommandLine, tmp_path: Path
) -> None:
    def run(*arguments: str) -> None:
        code, _, errors = command_line.run(*arguments, settings=deployment.settings)
        assert code == 0, errors

    history = clicks_of(800, 6, seed=9)
    columns = ["session_id", "item_id", "timestamp"]
    pl.DataFrame(history, schema=columns, orient="row").write_parquet(tmp_path / "train.parquet")
    deployment.publish("v1")  # of gru4rec: every swap here is one between families
    worker = deployment.start()
    for number, family in enumerate(("narm", "stamp", "sasrec")):
        bundle = tmp_path / family
        run("train", "--clicks", "train.parquet", "--family", family, *QUICK, "--out", str(bundle), "--publish")
        version = json.loads((bundle / "bundle.json").read_text())["version"]
        deployment.wait_until(lambda version=version: f"model {version} is ready" in worker.said, f"{family}")  # type: ignore[misc]

        clicks = clicks_of(60, 8, seed=number)
        pl.DataFrame(clicks, schema=columns, orient="row").write_parquet(tmp_path / "served.parquet")
        run("evaluate", "--model", str(bundle), "--clicks", "served.parquet", "--json", "figures.json")
        figures = json.loads((tmp_path / "figures.json").read_text())

        deployment.send(clicks)
        deployment.wait_until_all_answered()
        outcome = deployment.outcome()
        sessions: defaultdict[bytes | None, list[str]] = defaultdict(list)
        for name, click in outcome.clicks.items():
            if (click.key or b"").startswith(f"s{number}-".encode()):
                sessions[click.key].append(name)
        hits, events = 0, 0
        for names in sessions.values():
            for before, after in pairwise(names):
                answer = outcome.answers[before][0]
                assert answer["model_version"] == version
                item = outcome.clicks[after].json["item_id"]
                events += 1
                hits += item in answer["items"]
        assert (events, hits / events) == (figures["events"], pytest.approx(figures["recall"]["20"], abs=1e-12))
