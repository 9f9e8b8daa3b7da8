"""A neighbourhood model from the command line to the answers: counted, evaluated, a shadow, promoted, served."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from clicklog.prefixes import Prefixes
from modelregistry.publishing import publish_bundle
from rankers.bundle import read_bundle
from tests.command_line import CommandLine
from tests.worker.deployment import Deployment, clicks_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployments"), pytest.mark.usefixtures("compiled_scorer")]

COLUMNS = ["session_id", "item_id", "timestamp"]


def test_stan_answers_as_it_ranks_offline(deployment: Deployment, command_line: CommandLine, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        code, output, errors = command_line.run(*arguments, settings=deployment.settings)
        assert code == 0, errors
        return output + errors

    pl.DataFrame(clicks_of(800, 6, seed=9), schema=COLUMNS, orient="row").write_parquet(tmp_path / "train.parquet")
    clicks = clicks_of(60, 8, seed=1)
    pl.DataFrame(clicks, schema=COLUMNS, orient="row").write_parquet(tmp_path / "served.parquet")
    options = ("--k", "20", "--newest", "100", "--min-support", "1")
    said = run("train", "--clicks", "train.parquet", "--family", "stan", *options, "--out", "stan")
    assert "4,800 clicks of 800 sessions take" in said
    assert "counted" in said
    run("evaluate", "--model", "stan", "--clicks", "served.parquet", "--json", "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text())["events"] == 60 * 7

    bundle = read_bundle(tmp_path / "stan")
    deployment.publish("v1")  # of gru4rec: the swap is one between families
    worker = deployment.start()
    asyncio.run(publish_bundle(tmp_path / "stan", deployment.settings, shadow=True))
    deployment.wait_until(lambda: f"shadow model {bundle.version} is ready" in worker.said, "the shadow")
    deployment.send(clicks[: len(clicks) // 2])
    deployment.wait_until_all_answered()
    run("models", "promote", bundle.version)
    deployment.wait_until(lambda: f": model {bundle.version} is ready" in worker.said, "the swap")
    deployment.send(clicks[len(clicks) // 2 :])
    deployment.wait_until_all_answered()

    ranker = bundle.ranker(torch.device("cpu"))
    histories: defaultdict[bytes | None, list[int]] = defaultdict(list)
    outcome = deployment.outcome()
    served = 0
    for name, click in outcome.clicks.items():  # of a partition, in the order of their offsets
        history = histories[click.key]
        history.append(bundle.items.row_of[click.json["item_id"]])
        (answer,) = outcome.answers[name]
        if answer["model_version"] == bundle.version:
            top = ranker.best(Prefixes(np.array(history), np.array([0, len(history)])), 20)
            assert answer["items"] == [bundle.items.ids[row] for row in top.rows[0]]
            assert answer["scores"] == pytest.approx(top.scores[0].tolist(), abs=1e-4)  # they are rounded
            served += 1
    assert served == len(clicks) // 2
