"""Peak memory and rate of training on very many clicks; an epoch need not finish.

python benchmarks/training_memory.py [--clicks 30_000_000] [--items 40_000] [--seconds 60]
"""

import contextlib
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from benchmarks.arguments import parser_for
from clicklog.click_files import read_click_file
from trainer.config import FitConfig, TrainConfig
from trainer.fit import Progress
from trainer.train import train


class EnoughError(Exception):
    pass


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--clicks", type=int, default=30_000_000)
    parser.add_argument("--items", type=int, default=40_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--file", type=Path, help="made by an earlier run; keep it with --write")
    parser.add_argument("--write", type=Path, help="only write the file of clicks: writing takes memory, too")
    arguments = parser.parse_args()
    if arguments.write is not None:
        write(arguments.write, arguments.clicks, arguments.items)
        return
    with tempfile.TemporaryDirectory() as scratch:
        file = arguments.file
        if file is None:
            file = Path(scratch) / "clicks.parquet"
            write_elsewhere(file, arguments.clicks, arguments.items)
        run(file, arguments.seconds)


def run(file: Path, seconds: float) -> None:
    torch.set_num_threads(1)
    last: list[Progress] = []

    def watch(now: Progress) -> None:
        last[:] = [now]
        if now.seconds > seconds:
            raise EnoughError

    begin = time.perf_counter()
    with contextlib.suppress(EnoughError):
        train(read_click_file(file), TrainConfig(FitConfig(batch_size=128, epochs=1), device="cpu"), progress=watch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    prepared = time.perf_counter() - begin - last[-1].seconds
    print(f"{last[-1].total:,} events an epoch: ready after {prepared:.0f} s, {last[-1].rate:,.0f} events/s")
    print(f"peak memory {peak:.2f} GB")


def write_elsewhere(file: Path, clicks: int, items: int) -> None:
    """Write the clicks in a separate process, whose memory is not measured."""
    import subprocess
    import sys

    arguments = ["--write", str(file), "--clicks", str(clicks), "--items", str(items)]
    subprocess.run([sys.executable, "-m", "benchmarks.training_memory", *arguments], check=True)


def write(file: Path, clicks: int, items: int) -> None:
    """Sessions of 2 to 9 clicks, items by Zipf's law, in time order of the sessions."""
    random = np.random.default_rng(0)
    lengths = random.integers(2, 10, clicks // 5)
    session = np.repeat(np.arange(len(lengths)), lengths)[:clicks]
    item = (items * random.random(len(session)) ** 3).astype(np.int64)
    stamp = 1_700_000_000_000 + session * 100 + np.arange(len(session)) % 10 * 20_000
    pl.DataFrame({"session_id": session, "item_id": item, "timestamp": stamp}).write_parquet(file)


if __name__ == "__main__":
    main()
