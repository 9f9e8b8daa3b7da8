"""Top-20 of many items on one CPU thread: torch.mm + torch.topk against the scorers that a worker can use.

    uv run python -m benchmarks.topk [--items 2500 37000] [--batch 64 256] [--hidden 100]

Each figure is a median over rounds in which the methods take turns, and covers matrix product and selection. It is CPU
time, which other processes disturb less than wall time. `exact` is the scorer that a worker chooses on this CPU;
the overlap of the int8 scorer is measured against it. `panels` is the worker's choice on a CPU without AVX-512.
"""

from collections.abc import Callable
from statistics import median
from time import thread_time

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.arguments import parser_for
from benchmarks.contestants import machine
from rankers.scoring.scorers import DeviceScorer, PanelScorer, QuantisedScorer, exact_scorer

K = 20
ROUND_SECONDS = 0.2

Way = Callable[[Tensor], object]


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[2_500, 37_000])
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    torch.manual_seed(0)
    print(f"{machine()}; torch {torch.__version__}, 1 thread, {arguments.hidden} hidden units; µs per row\n")
    print("| items | batch | torch.mm | mm + topk | exact | int8 | overlap of int8 | panels | any device |")
    print("|---" * 9 + "|")
    for items in arguments.items:
        weight, bias = torch.randn(items, arguments.hidden), torch.randn(items)
        exact, panels, device = (make(weight, bias) for make in (exact_scorer, PanelScorer, DeviceScorer))
        quantised = QuantisedScorer(weight, bias, exact=False)
        ways: dict[str, Way] = {
            "product": lambda states, w=weight: torch.mm(states, w.T),  # type: ignore[misc]
            "plain": lambda states, w=weight, b=bias: torch.topk(torch.mm(states, w.T).add_(b), K),  # type: ignore[misc]
            "exact": lambda states, s=exact: s.best(states, K),  # type: ignore[misc]
            "int8": lambda states, s=quantised: s.best(states, K),  # type: ignore[misc]
            "panels": lambda states, s=panels: s.best(states, K),  # type: ignore[misc]
            "device": lambda states, s=device: s.best(states, K),  # type: ignore[misc]
        }
        for batch in arguments.batch:
            states = torch.randn(batch, arguments.hidden).tanh()
            best, nearly = exact.best(states, K)[0], quantised.best(states, K)[0]
            overlap = np.mean([len(set(mine) & set(theirs)) for mine, theirs in zip(best, nearly, strict=True)]) / K
            times = measure(ways, states, arguments.rounds)
            exact_cell, int8_cell, *other_cells = (
                f"{times[name]:.1f} ({times['plain'] / times[name]:.2f} ×)"
                for name in ("exact", "int8", "panels", "device")
            )
            print(
                f"| {items:,} | {batch} | {times['product']:.1f} | {times['plain']:.1f} | {exact_cell} | {int8_cell} "
                f"| {overlap:.4f} | {' | '.join(other_cells)} |",
                flush=True,
            )


def measure(ways: dict[str, Way], states: Tensor, rounds: int) -> dict[str, float]:
    """Method → µs per row."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    repeats = {name: max(1, round(ROUND_SECONDS / timed(way, states, 3) / len(ways))) for name, way in ways.items()}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(timed(way, states, repeats[name]))
    return {name: median(seconds) / len(states) * 1e6 for name, seconds in times.items()}


def timed(way: Way, states: Tensor, repeats: int) -> float:
    begin = thread_time()
    for _ in range(repeats):
        way(states)
    return (thread_time() - begin) / repeats


if __name__ == "__main__":
    main()
