"""A blend from the command line to the answers: trained, published over its network alone, served with details."""

import asyncio
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from modelregistry.publishing import publish_bundle
from rankers.bundle import read_bundle, write_bundle
from rankers.contract import Clicks, Memory
from tests.command_line import CommandLine
from tests.worker.deployment import Deployment, clicks_of
from trainer.blending.train import network_bundle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("deployments"),
    pytest.mark.usefixtures("compiled_scorer", "compiled_kernel", "compiled_blend"),
]

COLUMNS = ["session_id", "item_id", "timestamp"]


@pytest.mark.parametrize("scoring", ["exact", "int8"])
def test_a_blend_that_replaces_its_network_answers_as_it_ranks_offline(
    scoring: str, deployment: Deployment, command_line: CommandLine, tmp_path: Path
) -> None:
    def run(*arguments: str) -> str:
        code, output, errors = command_line.run(*arguments, settings=deployment.settings)
        assert code == 0, errors
        return output + errors

    pl.DataFrame(clicks_of(800, 6, seed=9), schema=COLUMNS, orient="row").write_parquet(tmp_path / "train.parquet")
    clicks = clicks_of(60, 8, seed=1)
    options = ("--epochs", "1", "--samples", "64", "--k", "20", "--newest", "100", "--min-support", "1")
    run("train", "--clicks", "train.parquet", "--family", "blend", *options, "--out", "blend")
    bundle = read_bundle(tmp_path / "blend")
    network = replace(network_bundle(bundle), version="network-alone")
    write_bundle(network, tmp_path / "network")

    asyncio.run(publish_bundle(tmp_path / "network", deployment.settings))
    worker = deployment.start(NEXTCLICK_ANSWER_DETAILS="true", NEXTCLICK_SCORING=scoring)
    deployment.wait_until(lambda: "model network-alone is ready" in worker.said, "the network alone")
    deployment.send(clicks[: len(clicks) // 2])
    deployment.wait_until_all_answered()
    asyncio.run(publish_bundle(tmp_path / "blend", deployment.settings))
    deployment.wait_until(lambda: f": model {bundle.version} is ready" in worker.said, "the swap")
    deployment.send(clicks[len(clicks) // 2 :])
    deployment.wait_until_all_answered()

    rankers = {one.version: one.ranker(torch.device("cpu"), scoring) for one in (network, bundle)}
    histories: defaultdict[bytes | None, list[int]] = defaultdict(list)
    outcome = deployment.outcome()
    served = dict.fromkeys(rankers, 0)
    for name, click in outcome.clicks.items():  # of a partition, in the order of their offsets
        history = histories[click.key]
        history.append(bundle.items.row_of[click.json["item_id"]])
        (answer,) = outcome.answers[name]
        ranker = rankers[answer["model_version"]]
        rows, zeros = np.array(history), np.zeros(len(history), dtype=np.int64)
        advanced = ranker.advance(
            Clicks(rows, zeros, np.arange(len(rows)), zeros.astype(bool)), Memory.empty(1, ranker.needs)
        )
        top = ranker.best(advanced.queries[len(rows) - 1 : len(rows)], 20)
        assert answer["items"] == [bundle.items.ids[row] for row in top.rows[0]]
        assert answer["scores"] == pytest.approx(top.scores[0].tolist(), abs=1e-4)  # they are rounded
        assert ("neighbours_share" in answer) == (answer["model_version"] == bundle.version)
        if "neighbours_share" in answer:
            assert len(answer["neighbours_share"]) == len(answer["items"])
        served[answer["model_version"]] += 1
    assert set(served.values()) == {len(clicks) // 2}
