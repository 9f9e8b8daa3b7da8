"""Training events per second of one thread: the compiled kernel against plain autograd, and with two threads.

    python benchmarks/training_speed.py --data DIRECTORY [--loss bpr-max] [--events 20000] [--recall SEEDS]

DIRECTORY holds rsc15_apr_2days.parquet and diginetica.parquet, click files with a split `train`. 2,048 samples, 100
hidden units, dropout .4. The contestants take turns, so that other activity on the machine affects all alike; each row
is the median over the turns. Rates are per CPU-second with one thread, and per wall-clock second with two: leave two
cores idle for those. With --recall both also train fully on the first data set (B 128, lr .05, 512 samples, 10 epochs),
once for each of SEEDS seeds, and Recall@20 on the split `test` is printed: the two draw different dropout masks.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from threadpoolctl import threadpool_limits

from benchmarks.arguments import add_data, parser_for
from clicklog.click_files import read_click_file
from clicklog.filters import filter_clicks
from clicklog.items import ItemIndex
from clicklog.sessions import Sessions, sessions_of
from rankers.gru4rec.network import GRU4Rec
from rankers.gru4rec.ranker import GRU4RecRanker
from rankers.recurrent import NetworkConfig
from trainer.backends.backend import TrainingBackend
from trainer.backends.choice import choose_backend
from trainer.batches.session_parallel import Schedule, session_parallel
from trainer.config import FitConfig
from trainer.evaluation.full_ranking import evaluate
from trainer.fit import fit

TURNS = 5


def main() -> None:
    parser = parser_for(__doc__)
    add_data(parser)
    parser.add_argument("--loss", default="cross-entropy")
    parser.add_argument("--events", type=int, default=20_000, help="of the kernel's turn; autograd's has a fifth")
    parser.add_argument("--recall", type=int, default=0, metavar="SEEDS", help="compare Recall@20 over so many seeds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.recall:
        compare_recall(arguments.data / "rsc15_apr_2days.parquet", arguments.loss, arguments.recall)
    head = f"{'autograd':>12}{'kernel':>12}{'ratio':>8}{'2 threads':>12}{'ratio':>8}"
    print(f"{arguments.loss:20}{'B':>6}{head}   events per second")
    for name in ("rsc15_apr_2days", "diginetica"):
        sessions, index = read(arguments.data / f"{name}.parquet")
        for lanes in (32, 128):
            config = FitConfig(loss=arguments.loss, batch_size=lanes, samples=2048, learning_rate=0.05)
            plain, kernel, two = compare(sessions, index, config, arguments.events)
            rates = f"{plain:12,.0f}{kernel:12,.0f}{kernel / plain:8.1f}{two:12,.0f}{two / kernel:8.1f}"
            print(f"{name:20}{lanes:6}{rates}", flush=True)


def read(clicks: Path) -> tuple[Sessions, ItemIndex]:
    frame = filter_clicks(read_click_file(clicks, ["train"]).frame)
    index = ItemIndex.of(frame)
    return sessions_of(frame, index), index


def compare(sessions: Sessions, index: ItemIndex, config: FitConfig, events: int) -> tuple[float, float, float]:
    """Median rates of autograd and the kernel on one thread, and of the kernel on two."""
    schedule = session_parallel(sessions, config.batch_size)
    contestants: list[tuple[TrainingBackend[Schedule], int, Callable[[], float]]] = []
    for plain, threads in ((True, 1), (False, 1), (False, 2)):
        torch.manual_seed(0)
        with threadpool_limits(threads, "blas"):
            backend = choose_backend(GRU4Rec(NetworkConfig(len(index))), index.support, config, plain=plain)
        backend.begin_epoch()
        backend.run(schedule, 0, 5)  # compile, and warm the caches
        share = events // 5 if plain else events
        contestants.append(
            (backend, share // config.batch_size, time.thread_time if threads == 1 else time.perf_counter)
        )
    rates = [[rate(backend, schedule, steps, clock) for backend, steps, clock in contestants] for _ in range(TURNS)]
    autograd, one, two = (median(turns) for turns in zip(*rates, strict=True))
    return autograd, one, two


def compare_recall(clicks: Path, loss: str, seeds: int) -> None:
    """Print Recall@20 of both backends for each seed, and the means."""
    sessions, index = read(clicks)
    test = sessions_of(read_click_file(clicks, ["test"]).frame, index)
    found: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(1, seeds + 1):
        for plain, recalls in found.items():
            torch.manual_seed(seed)
            network = GRU4Rec(NetworkConfig(len(index)))
            config = FitConfig(loss=loss, batch_size=128, samples=512, learning_rate=0.05, seed=seed)  # type: ignore[arg-type]
            fit(network, sessions, index.support, config, plain=plain)
            recalls.append(evaluate(GRU4RecRanker(network, index, torch.device("cpu")), test).recall[20])
        print(f"seed {seed}: Recall@20 autograd {found[True][-1]:.4f}, kernel {found[False][-1]:.4f}", flush=True)
    means = {plain: sum(recalls) / len(recalls) for plain, recalls in found.items()}
    print(f"mean: autograd {means[True]:.4f}, kernel {means[False]:.4f}, apart by {means[False] - means[True]:+.4f}\n")


def rate(backend: TrainingBackend[Schedule], schedule: Schedule, steps: int, clock: Callable[[], float]) -> float:
    """Events per second by the given clock."""
    steps = min(steps, len(schedule) - 5)
    begin = clock()
    backend.run(schedule, 5, 5 + steps)
    return float(schedule.steps[5 + steps] - schedule.steps[5]) / (clock() - begin)


if __name__ == "__main__":
    main()
