"""Why a forward step gets one CPU thread: its time with one and with more, with idle cores and with busy ones.

    uv run python -m benchmarks.threads --items 2500 37000

The broker, the worker's event loop and other processes take cores from time to time. The threads of one matrix product
wait for each other, so one thread without a core delays all of them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

ROUNDS = 30
BATCH = 256

MEASURE = f"""
import statistics, sys, time
import numpy as np, torch
from threadpoolctl import threadpool_limits
threads, items = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads); threadpool_limits(threads)
from clicklog.items import ItemIndex
from rankers.gru4rec.network import GRU4Rec
from rankers.gru4rec.ranker import GRU4RecRanker
from rankers.recurrent import NetworkConfig
network = GRU4Rec(NetworkConfig(items=items)).eval().requires_grad_(False)
index = ItemIndex(list(range(items)), np.ones(items, dtype=np.int64))
ranker = GRU4RecRanker(network, index, torch.device("cpu"))
rows, state = torch.randint(items, ({BATCH},)), network.initial_state({BATCH})
times = []
for _ in range({ROUNDS}):
    begin = time.perf_counter()
    ranker.best(ranker.step(rows, state)[:, -1], 20)
    times.append(time.perf_counter() - begin)
print(statistics.median(times[5:]) * 1e3)
"""


def milliseconds(threads: int, items: int, busy: int) -> float:
    """Median time of a forward step and its top-20 for 256 sessions, next to a number of busy processes."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        time.sleep(0.5)
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(threads), str(items)], capture_output=True, text=True, check=True
        )
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    return float(done.stdout)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[2500, 37_000])
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    print(f"{cores} cores, load before {os.getloadavg()[0]:.1f}; {BATCH} sessions, ms")
    print("| items | threads | all cores idle | one busy | all busy |\n|---|---|---|---|---|")
    for items in arguments.items:
        for threads in sorted({1, cores}):
            medians = [
                statistics.median(milliseconds(threads, items, busy) for _ in range(arguments.runs))
                for busy in (0, 1, cores)
            ]
            print(f"| {items:,} | {threads} | " + " | ".join(f"{value:.1f}" for value in medians) + " |", flush=True)


if __name__ == "__main__":
    main()
