"""A warm start against a full retraining, on another half day of data.

    python -m benchmarks.warm_start --clicks rsc15_apr_2days.parquet --seeds 3

The file has the splits `train` (the first day) and `test` (the second). A model of the first day serves; then the first
half of the second day's sessions arrive. `full` trains on everything from random weights, `warm` continues from the
serving model as `nextclick retrain` does; both are judged on the second half, by full ranking over the same items.
"""

import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path

import polars as pl
import torch

from benchmarks.arguments import parser_for
from clicklog.click_files import read_click_file
from clicklog.clicks import Clicks
from clicklog.sessions import sessions_of
from trainer.config import TrainConfig
from trainer.evaluation.full_ranking import Evaluation, evaluate
from trainer.presets import RETRAINING
from trainer.retraining.candidate import Candidate, train_candidate
from trainer.warm_start import WarmStart

CONFIG = dataclasses.replace(RETRAINING, device="cpu")
EPOCHS, REPLAY = 2, 0.85


def train(frame: pl.DataFrame, config: TrainConfig, warm: WarmStart | None) -> tuple[Candidate, float]:
    """A candidate, and the CPU seconds of its training."""
    with tempfile.TemporaryDirectory() as scratch:
        began = time.process_time()
        candidate = train_candidate(Clicks(frame, "a file"), config, warm, {}, Path(scratch))
        return candidate, time.process_time() - began


def judge(candidate: Candidate, frame: pl.DataFrame) -> Evaluation:
    return evaluate(candidate.bundle.ranker(torch.device("cpu")), sessions_of(frame, candidate.index))


def compare(
    before: pl.DataFrame, everything: pl.DataFrame, judged: pl.DataFrame, seed: int, epochs: int, replay: float
) -> dict[str, float]:
    """Recall@20 of each way to update the model of `before`, and the CPU seconds of the two retrainings."""
    config = dataclasses.replace(CONFIG, fit=dataclasses.replace(CONFIG.fit, seed=seed))
    serving, _ = train(before, config, None)
    full, full_cpu = train(everything, config, None)
    seen = serving.bundle.trained_on
    assert seen is not None
    assert seen.last is not None
    start = WarmStart(serving.bundle, serving.memory, seen.last, epochs, replay)
    warm, warm_cpu = train(everything, config, start)
    forgetful, _ = train(everything, config, dataclasses.replace(start, memory=None))
    return {
        "seed": seed,
        "full": judge(full, judged).recall[20],
        "warm": judge(warm, judged).recall[20],
        "warm, optimiser reset": judge(forgetful, judged).recall[20],
        "full CPU s": full_cpu,
        "warm CPU s": warm_cpu,
    }


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--clicks", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--replay", type=float, default=REPLAY)
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = read_click_file(options.clicks, ["train"]).frame
    after = read_click_file(options.clicks, ["test"]).frame
    starts = after.group_by("session_id").agg(pl.col("timestamp").min().alias("start")).sort("start")
    middle = starts["start"][len(starts) // 2]
    early = pl.col("timestamp").min().over("session_id") < middle
    arrived, judged = after.filter(early), after.filter(~early)
    everything = pl.concat([before, arrived])
    train(before.head(5000), CONFIG, None)  # compiles the kernel before the measurement
    rows = []
    for seed in range(options.seeds):
        row = compare(before, everything, judged, seed, options.epochs, options.replay)
        rows.append({name: round(value, 4) for name, value in row.items()})
        print(json.dumps(rows[-1]), flush=True)
    mean = {name: statistics.mean(row[name] for row in rows) for name in rows[0] if name != "seed"}
    print(
        f"warm reaches {mean['warm'] / mean['full']:.2%} of the full retraining's Recall@20 at "
        f"{mean['warm CPU s'] / mean['full CPU s']:.1%} of its CPU seconds (optimiser reset: "
        f"{mean['warm, optimiser reset'] / mean['full']:.2%})"
    )


if __name__ == "__main__":
    main()
