import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from clicklog.clicks import Clicks
from clicklog.sessions import Sessions
from rankers.bundle import Bundle
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from schemas.errors import ClicksError, TrainingError
from tests.command_line import Command
from trainer.config import FitConfig, TrainConfig
from trainer.fit import FitResult, Progress, fit
from trainer.train import Trained, evaluate_bundle, train
from trainer.validation import EpochChoice

pytestmark = pytest.mark.usefixtures("compiled_kernel")

CONFIG = TrainConfig(
    FitConfig(batch_size=8, samples=8, epochs=6, dropout_hidden=0.3, learning_rate=0.2, order="random"),
    hidden=6,
    validate=0.25,
    min_support=1,
    device="cpu",
)
FAMILIES = [{}, {"layers": 2}, {"family": "narm"}, {"family": "sasrec"}]  # the kernel, and both kinds of autograd


def clicks() -> Clicks:
    """The newest sessions go the other way round, so that training soon makes the network worse for them."""
    random = np.random.default_rng(0)
    first = random.integers(0, 30, 200)
    way = np.where(np.arange(200) < 150, 1, -1)
    items = (first[:, np.newaxis] + way[:, np.newaxis] * np.arange(4)) % 30
    sessions = np.repeat(np.arange(200), 4)
    return Clicks(pl.DataFrame({"session_id": sessions, "item_id": items.ravel(), "timestamp": sessions}), "test")


def trained(config: TrainConfig, **options: Any) -> tuple[Bundle, FitResult]:
    result: Trained = train(clicks(), config, **options)
    return result.bundle, result.fit


def weights(bundle: Bundle) -> dict[str, torch.Tensor]:
    return dict(bundle.model.state_dict())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_weights_are_those_of_the_epoch_that_is_best_on_the_newest_sessions(family: dict[str, Any]) -> None:
    config = replace(CONFIG, **family)
    bundle, result = trained(config)
    best = result.validated.index(max(result.validated)) + 1
    assert result.loss == result.losses[best - 1] != result.losses[-1]
    assert len(result.validated) == 6
    assert best < 6, "else this test shows nothing"
    assert bundle.trained_on is not None
    assert (bundle.trained_on.sessions, bundle.trained_on.last) == (150, 149), "the newest quarter is left out"
    assert (bundle.trained_on.judged_until, bundle.trained_on.seen_until) == (199, 199)
    shorter, _ = trained(replace(config, fit=replace(config.fit, epochs=best)))
    for name, tensor in weights(bundle).items():
        assert torch.equal(tensor, weights(shorter)[name]), name
    newest = clicks().frame.filter(pl.col("session_id") >= 150)
    assert evaluate_bundle(bundle, Clicks(newest, "newest"), "cpu").recall[20] == max(result.validated)[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("interrupted", [2, 6])  # before the best epoch and after it
def test_an_interrupted_training_chooses_the_same_epoch(
    tmp_path: Path, family: dict[str, Any], interrupted: int
) -> None:
    class Interruption(Exception):
        pass

    def progress(now: Progress) -> None:
        if now.epoch == interrupted:
            raise Interruption

    config = replace(CONFIG, **family)
    whole, result = trained(config)
    with pytest.raises(Interruption):
        trained(config, checkpoint=tmp_path, progress=progress)
    resumed, rest = trained(config, checkpoint=tmp_path)
    assert rest.validated == result.validated
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


@pytest.mark.parametrize(
    ("before", "line"),
    [
        ({"validate": 0.0}, r"validate 0\.0 there and 0\.25 here"),
        ({"validate": 0.5}, r"validate 0\.5 there and 0\.25 here"),
        ({}, r"\(validation \w+ there and \w+ here\)"),
    ],
)
def test_a_checkpoint_of_another_validation_is_refused(tmp_path: Path, before: dict[str, Any], line: str) -> None:
    frame = clicks().frame
    if not before:  # the same clicks to train on, and others to choose the epoch by
        frame = frame.with_columns((pl.col("item_id") + (pl.col("session_id") == 199)) % 30)
    source = clicks() if before else Clicks(frame, "test")
    train(source, replace(CONFIG, **before), checkpoint=tmp_path)
    with pytest.raises(TrainingError, match=line):
        trained(CONFIG, checkpoint=tmp_path)


def test_of_equal_recall_the_higher_mrr_is_better_and_of_equals_the_first() -> None:
    network = torch.nn.Linear(1, 1)
    figures = iter([(0.4, 0.2), (0.5, 0.2), (0.5, 0.3), (0.5, 0.3), (0.4, 0.4)])
    choice = EpochChoice(lambda: next(figures))
    for epoch in range(1, 6):
        network.weight.data.fill_(epoch)
        choice.after_epoch(network)
    assert (choice.best, choice.weights["weight"].item()) == (3, 3)


def test_judging_is_no_time_of_the_training() -> None:
    seen: list[Progress] = []

    def judge() -> tuple[float, float]:
        time.sleep(0.5)
        return 0.0, 0.0

    network = GRU4Rec(NetworkConfig(items=3, hidden=4))
    sessions = Sessions(np.array([0, 1, 2, 0, 2]), np.array([0, 3, 5]))
    config = FitConfig(samples=2, epochs=4)
    fit(network, sessions, np.ones(3, dtype=np.int64), config)  # compiles
    result = fit(network, sessions, np.ones(3, dtype=np.int64), config, seen.append, choice=EpochChoice(judge))
    assert result.seconds < 0.5
    assert seen[-1].seconds < 0.5


def test_a_part_that_nothing_can_be_judged_by_is_one_line() -> None:
    with pytest.raises(ClicksError, match="leaves none on one side"):
        trained(replace(CONFIG, validate=0.001))
    frame = clicks().frame
    strange = frame.with_columns(
        pl.when(pl.col("session_id") >= 150).then(pl.col("item_id") + 1000).otherwise(pl.col("item_id"))
    )
    with pytest.raises(TrainingError, match=r"the newest 0\.25 of the sessions have no two clicks on items of the"):
        train(Clicks(strange, "test"), CONFIG)


def test_the_command_says_which_epoch_it_took(nextclick: Command, shop_file: Path) -> None:
    quick = ("--epochs", 2, "--hidden", 8, "--samples", 8, "--validate", 0.2)
    done = nextclick("train", "--clicks", shop_file, *quick, "--out", "bundle")
    assert done.code == 0, done.stderr
    assert re.search(r"the weights of epoch 2 of 2: Recall@20 0\.\d{4}, MRR@20 0\.\d{4} on the newest", done.stdout)
