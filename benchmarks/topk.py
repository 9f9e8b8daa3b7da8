"""Top-20 of many items on one CPU thread: torch.mm + torch.topk against block-max, and the block's size.

    uv run python -m benchmarks.topk [--items 2500 37000] [--batch 64 256] [--hidden 100]

Each figure is the median of rounds in which the ways take turns, product and selection together; CPU time, which
other processes on the machine disturb less than wall time.
"""

import argparse
from collections.abc import Callable
from statistics import median
from time import thread_time

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.contestants import machine
from gru4rec import topk

K = 20
BLOCKS = (16, 32, 64, 128)
ROUND_SECONDS = 0.2

Way = Callable[[Tensor], tuple[Tensor, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[2_500, 37_000])
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{machine()}; torch {torch.__version__}, 1 thread, {arguments.hidden} hidden units; µs per row\n")
    print(
        "| items | batch | product alone | mm + topk | " + " | ".join(f"block {block}" for block in BLOCKS), end=" |\n"
    )
    print("|---" * (4 + len(BLOCKS)) + "|")
    for items in arguments.items:
        weight, bias = torch.randn(items, arguments.hidden), torch.randn(items)
        ways: dict[str, Way] = {"product": lambda states, w=weight: (torch.mm(states, w.T), states)}  # type: ignore[misc]
        ways |= {"plain": plain(weight, bias)} | {f"{block}": by_blocks(weight, bias, block) for block in BLOCKS}
        for batch in arguments.batch:
            states = torch.randn(batch, arguments.hidden)
            check(ways, states)
            times = measure(ways, states, arguments.rounds)
            cells = [f"{times[f'{block}']:.1f} ({times['plain'] / times[f'{block}']:.2f} ×)" for block in BLOCKS]
            print(f"| {items:,} | {batch} | {times['product']:.1f} | {times['plain']:.1f} | " + " | ".join(cells), "|")


def plain(weight: Tensor, bias: Tensor) -> Way:
    def best(states: Tensor) -> tuple[Tensor, Tensor]:
        values, columns = torch.topk(torch.mm(states, weight.T).add_(bias), K)
        return values, columns

    return best


def by_blocks(weight: Tensor, bias: Tensor, block: int) -> Way:
    topk.BLOCK = block
    padding = topk.padded_items(len(weight)) - len(weight)
    padded_weight = functional.pad(weight, (0, 0, 0, padding))
    padded_bias = functional.pad(bias, (0, padding), value=-torch.inf)

    def best(states: Tensor) -> tuple[Tensor, Tensor]:
        topk.BLOCK = block
        return topk.block_top_k(torch.addmm(padded_bias, states, padded_weight.T), K)

    return best


def check(ways: dict[str, Way], states: Tensor) -> None:
    values, columns = ways["plain"](states)
    for block in BLOCKS:
        found, places = ways[f"{block}"](states)
        assert torch.allclose(found, values, rtol=1e-4, atol=1e-4), block
        assert (places == columns).float().mean() > 0.999, block  # the product's rounding depends on its shape


def measure(ways: dict[str, Way], states: Tensor, rounds: int) -> dict[str, float]:
    """Way → µs per row."""
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
