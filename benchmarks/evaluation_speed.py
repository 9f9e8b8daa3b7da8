"""Full-ranking evaluation against plain scoring and sorting, in the same run: events per CPU-second of one thread.

python benchmarks/evaluation_speed.py [--items 43000] [--sessions 1500]
"""

import time

import numpy as np
import torch

from benchmarks.arguments import parser_for
from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from rankers.gru4rec.network import GRU4Rec
from rankers.gru4rec.ranker import GRU4RecRanker
from rankers.recurrent import NetworkConfig
from trainer.batches.session_parallel import session_parallel
from trainer.evaluation.ranks import rank_streamed

LANES = 128


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--items", type=int, default=43_000)
    parser.add_argument("--sessions", type=int, default=1500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = GRU4Rec(NetworkConfig(arguments.items)).requires_grad_(False)
    items = ItemIndex(list(range(arguments.items)), np.ones(arguments.items, dtype=np.int64))
    ranker = GRU4RecRanker(network, items, torch.device("cpu"))
    random = np.random.default_rng(0)
    lengths = random.geometric(0.3, arguments.sessions) + 1
    sessions = Sessions(random.integers(0, arguments.items, lengths.sum()), np.concatenate([[0], np.cumsum(lengths)]))

    begin = time.thread_time()
    plain = score_and_sort(network, sessions)
    between = time.thread_time()
    ranks = rank_streamed(ranker, sessions).rank
    end = time.thread_time()
    assert abs(np.mean(ranks) - np.mean(plain)) < 0.01, "the ranks differ"
    rates = sessions.pairs / (between - begin), sessions.pairs / (end - between)
    print(f"{arguments.items:,} items: score and sort {rates[0]:,.0f}, evaluate {rates[1]:,.0f} events per CPU-second")
    print(f"ratio {rates[1] / rates[0]:.1f}")


def score_and_sort(network: GRU4Rec, sessions: Sessions) -> list[int]:
    """Step 128 sessions at a time, sort the scores, and find the rank of the next item."""
    schedule = session_parallel(sessions, LANES)
    state = network.initial_state(LANES)
    ranks: list[int] = []
    for begin, end in zip(schedule.steps[:-1], schedule.steps[1:], strict=True):
        lanes = torch.from_numpy(schedule.lane[begin:end]).long()
        before = state[lanes]
        before[torch.from_numpy(schedule.reset[begin:end])] = 0
        state[lanes] = after = network.step(torch.from_numpy(schedule.input[begin:end]).long(), before)
        order = network.scores(after[:, -1]).argsort(dim=1, descending=True)
        targets = torch.from_numpy(schedule.target[begin:end]).long()
        ranks += ((order == targets[:, None]).int().argmax(dim=1) + 1).tolist()
    return ranks


if __name__ == "__main__":
    main()
