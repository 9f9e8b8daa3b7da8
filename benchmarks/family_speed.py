"""Training and ranking speed of the families, in one process and on one thread.

    python -m benchmarks.family_speed --clicks FILE [--split train] [--hidden 100] [--batch-size 128]

Training is by autograd for all, GRU4Rec's compiled kernel left out: (click, next click) pairs a second. Ranking is what
a worker asks of a model for a micro-batch of 512 clicks: the sessions advance by a click, and each gets its best 20.
Networks are untrained, and all have the same width; neighbours are counted from all the clicks, with their defaults and
with k 100, newest 500; the blend is of GRU4Rec and STAN. The families take turns, so that other activity on the machine
affects all alike; the fastest of five turns counts. `benchmarks.throughput --model BUNDLE` measures a whole worker.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.arguments import parser_for
from clicklog.click_files import read_click_file
from clicklog.filters import filter_clicks
from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions, sessions_of
from rankers.blend.model import Blend
from rankers.contract import Clicks, Memory
from rankers.families import family_of, is_counted, network_family_of
from trainer.backends.choice import choose_backend
from trainer.config import BLEND, TrainConfig
from trainer.counting import count
from trainer.presets import FAMILY_DEFAULTS
from trainer.settings_file import with_options

TURNS = 5
STEPS = 20  # of a turn of training
BATCH = 512  # clicks ranked together
FEW_NEIGHBOURS = {"k": 100, "newest": 500}


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--clicks", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    frame = filter_clicks(read_click_file(arguments.clicks, [arguments.split]).frame)
    index = ItemIndex.of(frame)
    sessions = sessions_of(frame, index)
    size = {"hidden": arguments.hidden, "batch-size": arguments.batch_size}
    configs = {
        name: config if is_counted(name) else with_options(config, size) for name, config in FAMILY_DEFAULTS.items()
    }
    for name in [name for name in configs if is_counted(name) or name == BLEND]:
        configs[f"{name} 100"] = with_options(configs[name], FEW_NEIGHBOURS)
    training = fastest(
        {name: training_of(config, sessions, index) for name, config in configs.items() if config.family != BLEND}
    )
    ranking = fastest({name: ranking_of(config, sessions, index) for name, config in configs.items()})
    print(f"{len(index):,} items, {arguments.hidden} units, B {arguments.batch_size}")
    print(f"{'':12}{'trained/s':>12}{'to gru4rec':>12}{'ranked/s':>12}{'to gru4rec':>12}")
    for name in configs:
        rates = ""
        for found in (training, ranking):
            rates += f"{found[name]:12,.0f}{found[name] / found['gru4rec']:12.0%}" if name in found else f"{'':24}"
        print(f"{name:12}{rates}")


def fastest(turns: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The highest rate of each family."""
    rates = [{name: turn() for name, turn in turns.items()} for _ in range(TURNS)]
    return {name: max(rate[name] for rate in rates) for name in turns}


def training_of(config: TrainConfig, sessions: Sessions, index: ItemIndex) -> Callable[[], float]:
    """A turn of training: returns the events per second of some steps, or of counting."""
    if is_counted(config.family):
        return lambda: sessions.pairs / count(config, sessions, len(index))[1].seconds
    network = network_family_of(config.family).untrained(config.shape(len(index)))
    backend = choose_backend(network, index.support, config.fit, plain=True)
    schedule = backend.schedule(sessions, np.random.default_rng(0).permutation(len(sessions)))
    backend.begin_epoch()

    def turn() -> float:
        begin = time.perf_counter()
        backend.run(schedule, 0, STEPS)
        return float(schedule.steps[STEPS]) / (time.perf_counter() - begin)

    return turn


def model_of(config: TrainConfig, sessions: Sessions, index: ItemIndex) -> Any:
    """An untrained network, counted neighbours, or a blend of both."""
    if config.family == BLEND:
        network, neighbours = (model_of(part, sessions, index) for part in config.parts)
        return Blend(config.network, network, index.ids, config.neighbours, neighbours, 0.3, 1.0)
    if is_counted(config.family):
        return count(config, sessions, len(index))[0]
    return network_family_of(config.family).untrained(config.shape(len(index))).requires_grad_(False).eval()


def ranking_of(config: TrainConfig, sessions: Sessions, index: ItemIndex) -> Callable[[], float]:
    """A turn of ranking: returns the clicks per second of a micro-batch."""
    model = model_of(config, sessions, index)
    ranker = family_of(config.family).ranker(model, index, torch.device("cpu"), "exact")
    ranker.warm_up(BATCH)
    random = np.random.default_rng(0)
    places = random.choice(len(sessions.items), BATCH, replace=False)
    session = np.searchsorted(sessions.offsets, places, side="right") - 1
    before = [sessions.items[sessions.offsets[s] : place] for s, place in zip(session, places, strict=True)]
    histories = Prefixes(np.concatenate(before), np.concatenate([[0], np.cumsum([len(items) for items in before])]))
    zeros = np.zeros(BATCH, dtype=np.int64)
    clicks = Clicks(sessions.items[places], np.arange(BATCH), zeros, zeros.astype(bool), histories)

    def turn() -> float:
        memory = Memory.empty(BATCH, ranker.needs)
        begin = time.perf_counter()
        ranker.best(ranker.advance(clicks, memory).queries, 20)
        return BATCH / (time.perf_counter() - begin)

    return turn


if __name__ == "__main__":
    main()
