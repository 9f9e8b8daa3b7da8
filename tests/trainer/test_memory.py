"""A batch that does not fit into memory is one line that names the batch size, not a MemoryError after minutes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from clicklog.clicks import Clicks
from clicklog.sessions import Sessions
from rankers.gru4rec.network import GRU4Rec
from rankers.recurrent import NetworkConfig
from schemas.errors import TrainingError
from trainer.config import FitConfig, TrainConfig
from trainer.memory import memory_bytes, memory_errors, step_bytes
from trainer.train import train

SESSIONS = Sessions(np.arange(6), np.array([0, 2, 4, 6]))
NETWORK = GRU4Rec(NetworkConfig(items=3, hidden=4))
CPU = torch.device("cpu")


def test_a_batch_above_the_memory_is_refused_before_the_training() -> None:
    frame = pl.DataFrame({"session_id": [1, 1, 2, 2], "item_id": [1, 2, 2, 1], "timestamp": [1, 2, 3, 4]})
    config = TrainConfig(FitConfig(batch_size=10_000_000), min_support=1)
    with pytest.raises(TrainingError) as refused:
        train(Clicks(frame, source="c"), config)
    line = str(refused.value)
    assert line.startswith("--batch-size 10000000 with --samples 2048 takes 400,081.9 GB for the scores of one step")
    assert f"cpu has {memory_bytes(CPU) / 1e9:,.1f} GB" in line
    assert "more than 2, the number of sessions of two clicks or more, is of no use" in line


def test_a_network_that_does_not_fit_is_refused_in_one_line() -> None:
    frame = pl.DataFrame({"session_id": [1, 1, 2, 2], "item_id": [1, 2, 2, 1], "timestamp": [1, 2, 3, 4]})
    with pytest.raises(
        TrainingError, match=r"a network of --hidden 1000000000 and --layers 1 for 2 items does not fit"
    ):
        train(Clicks(frame, source="c"), TrainConfig(hidden=1_000_000_000, min_support=1))


def test_a_network_above_the_memory_is_refused_before_any_of_it_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame({"session_id": [1, 1, 2, 2], "item_id": [1, 2, 2, 1], "timestamp": [1, 2, 3, 4]})
    monkeypatch.setattr("trainer.train.memory_bytes", lambda _device: 1_000_000)
    with pytest.raises(TrainingError, match=r"a network of --hidden 1000 and --layers 1 for 2 items does not fit"):
        train(Clicks(frame, source="c"), TrainConfig(hidden=1000, min_support=1))  # 12 MB


def test_a_network_that_reads_the_history_counts_clicks_and_its_attention() -> None:
    frame = pl.DataFrame(
        {"session_id": [1] * 7 + [2, 2], "item_id": [1, 2, 3, 1, 2, 3, 1, 2, 1], "timestamp": range(9)}
    )
    config = TrainConfig(FitConfig(batch_size=10_000_000, samples=0), family="narm", hidden=50, window=4, min_support=1)
    with pytest.raises(TrainingError) as refused:
        train(Clicks(frame, source="c"), config)
    line = str(refused.value)
    scores_and_attention = 4 * 10_000_000 * (10_000_000 + 4 * 50) / 1e9
    assert line.startswith("--batch-size 10000000 with --samples 0, --window 4 and --hidden 50 takes")
    assert f"{scores_and_attention:,.1f} GB for scores and attention of one step" in line
    assert "a batch of more than 7, the number of clicks that have a next one, is of no use" in line


def test_only_a_size_that_the_family_has_is_to_be_lowered() -> None:
    frame = pl.DataFrame({"session_id": [1, 1, 2, 2], "item_id": [1, 2, 2, 1], "timestamp": [1, 2, 3, 4]})
    config = TrainConfig(family="stamp", hidden=1_000_000_000, min_support=1)
    with pytest.raises(TrainingError, match=r"of --hidden 1000000000 for 2 items does not fit into memory: lower it,"):
        train(Clicks(frame, source="c"), config)


def test_a_batch_that_fits_is_trained_though_the_log_has_fewer_sessions() -> None:
    config = FitConfig(batch_size=5000)
    assert step_bytes(NETWORK, config, SESSIONS) < memory_bytes(CPU)
    with memory_errors(NETWORK, config, SESSIONS, CPU):
        pass


def out_of_memory() -> None:
    np.empty((1 << 60,), dtype=np.uint8)


def out_of_memory_in_torch() -> None:
    torch.empty(1 << 60)


def out_of_memory_on_a_gpu() -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 75.00 GiB")


@pytest.mark.parametrize("allocate", [out_of_memory, out_of_memory_in_torch, out_of_memory_on_a_gpu])
def test_an_allocation_that_fails_during_the_training_names_the_batch_size(allocate: Callable[[], None]) -> None:
    config = replace(FitConfig(), batch_size=300)
    failed = r"--batch-size 300 .* an allocation failed: lower it"
    with pytest.raises(TrainingError, match=failed), memory_errors(NETWORK, config, SESSIONS, CPU):
        allocate()


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_errors(NETWORK, FitConfig(), SESSIONS, CPU):
        raise RuntimeError("shapes do not match")
