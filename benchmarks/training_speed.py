"""Training events per CPU-second of one thread: the compiled kernel beside plain autograd, in the same run.

    python benchmarks/training_speed.py --data DIRECTORY [--loss bpr-max] [--events 20000]

DIRECTORY holds rsc15_apr_2days.parquet and diginetica.parquet, click files with a split `train`. 2,048 samples, 100
hidden units, dropout .4. The two take turns, so that what else the machine does meets both alike; each row is the
median over the turns.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from gru4rec.network import GRU4Rec, NetworkConfig
from trainer.clicks import read_click_file
from trainer.config import FitConfig
from trainer.filters import filter_clicks
from trainer.items import ItemIndex
from trainer.path import Path as TrainingPath
from trainer.path import path_of
from trainer.schedule import Schedule, session_parallel
from trainer.sessions import Sessions, sessions_of

TURNS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory of the click files")
    parser.add_argument("--loss", default="cross-entropy")
    parser.add_argument("--events", type=int, default=20_000, help="of the kernel's turn; autograd's has a fifth")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{arguments.loss:20}{'B':>6}{'autograd':>12}{'kernel':>12}{'ratio':>8}   events per CPU-second")
    for name in ("rsc15_apr_2days", "diginetica"):
        sessions, index = read(arguments.data / f"{name}.parquet")
        for lanes in (32, 128):
            config = FitConfig(loss=arguments.loss, batch_size=lanes, samples=2048, learning_rate=0.05)
            plain, kernel = compare(sessions, index, config, arguments.events)
            print(f"{name:20}{lanes:6}{plain:12,.0f}{kernel:12,.0f}{kernel / plain:8.1f}", flush=True)


def read(clicks: Path) -> tuple[Sessions, ItemIndex]:
    frame = filter_clicks(read_click_file(clicks, ["train"]).frame)
    index = ItemIndex.of(frame)
    return sessions_of(frame, index), index


def compare(sessions: Sessions, index: ItemIndex, config: FitConfig, events: int) -> tuple[float, float]:
    """Median rate of autograd and of the kernel."""
    schedule = session_parallel(sessions, config.batch_size)
    rates: dict[bool, list[float]] = {True: [], False: []}
    paths = {}
    for plain in (True, False):
        torch.manual_seed(0)
        paths[plain] = path_of(GRU4Rec(NetworkConfig(len(index))), index.support, config, plain=plain)
        paths[plain].begin_epoch()
        paths[plain].run(schedule, 0, 5)  # compile, and wake the caches
    for _ in range(TURNS):
        for plain, path in paths.items():
            rates[plain].append(rate(path, schedule, (events // 5 if plain else events) // config.batch_size))
    return median(rates[True]), median(rates[False])


def rate(path: TrainingPath, schedule: Schedule, steps: int) -> float:
    """Events per second of this thread's CPU time."""
    steps = min(steps, len(schedule) - 5)
    begin = time.thread_time()
    path.run(schedule, 5, 5 + steps)
    return float(schedule.steps[5 + steps] - schedule.steps[5]) / (time.thread_time() - begin)


if __name__ == "__main__":
    main()
