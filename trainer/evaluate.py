"""Full-ranking evaluation: after every click but a session's last, where does the next item rank among all items?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gru4rec.metrics import MeanReciprocalRank, RankingMetric, Recall, Ties, target_ranks
from gru4rec.network import GRU4Rec
from schemas.errors import TrainingError
from trainer.schedule import session_parallel
from trainer.sessions import Sessions

CUTOFFS = (1, 5, 10, 20)
LANES = 256  # sessions advanced at a time; the figures do not depend on it
SCORES_AT_ONCE = 4_000_000  # 16 MB of scores: measured best of 1 to 64 MB for 2,500 and 43,000 items


@dataclass(frozen=True)
class Evaluation:
    """Metrics over all events, by cutoff.

    Attributes:
        events: (click, next click) pairs that were judged.
        recall: cutoff → Recall@k.
        mrr: cutoff → MRR@k.
    """

    events: int
    recall: dict[int, float]
    mrr: dict[int, float]


def evaluate(
    network: GRU4Rec,
    sessions: Sessions,
    ties: Ties = "conservative",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Rank the next item of every click among all items of the network; nothing is filtered or sampled.

    Clicks on items that the network does not know are left out of `sessions` (see `sessions_of`); the session goes
    on. Hidden states start at zero with each session.

    Args:
        network: on any device; nothing is dropped out.
        sessions: what to judge on.
        ties: how items that score the same as the target count.
        progress: called with the events judged so far and in all.

    Raises:
        TrainingError: there is no event to judge, or the network's scores are not numbers.
    """
    if sessions.pairs == 0:
        raise TrainingError(
            "there is nothing to evaluate: no session has two clicks on items that the model knows; "
            "check that the clicks and the model are of one shop"
        )
    recall = {cutoff: Recall(cutoff) for cutoff in CUTOFFS}
    mrr = {cutoff: MeanReciprocalRank(cutoff) for cutoff in CUTOFFS}
    metrics: list[RankingMetric] = [*recall.values(), *mrr.values()]
    events = 0
    block = max(1, SCORES_AT_ONCE // network.config.items)
    with torch.inference_mode():
        for outputs, targets in _outputs(network, sessions, block):
            try:
                ranks = target_ranks(network.scores(outputs).cpu().numpy(), targets, ties)
            except ValueError as error:
                raise TrainingError(f"the model cannot be evaluated: {error}; train it again") from error
            for metric in metrics:
                metric.add(ranks)
            events += len(targets)
            if progress is not None:
                progress(events, sessions.pairs)
    return Evaluation(
        events,
        {cutoff: metric.result() for cutoff, metric in recall.items()},
        {cutoff: metric.result() for cutoff, metric in mrr.items()},
    )


def _outputs(network: GRU4Rec, sessions: Sessions, block: int) -> Iterator[tuple[Tensor, NDArray[np.int32]]]:
    """The network's output after each click (≤ block, h), with the item clicked next (≤ block,)."""
    schedule = session_parallel(sessions, LANES)
    state = network.initial_state(LANES)  # (B, L, h)
    device = state.device
    waiting: list[Tensor] = []
    first = 0  # first event that waits
    for number in range(len(schedule)):
        now = slice(schedule.steps[number], schedule.steps[number + 1])
        lanes = torch.from_numpy(schedule.lane[now].astype(np.int64)).to(device)  # (b,)
        before = state.index_select(0, lanes)  # (b, L, h)
        before[torch.from_numpy(schedule.reset[now]).to(device)] = 0
        after = network.step(torch.from_numpy(schedule.input[now].astype(np.int64)).to(device), before)  # (b, L, h)
        state.index_copy_(0, lanes, after)
        waiting.append(after[:, -1])
        last = int(now.stop)
        if last - first >= block or number == len(schedule) - 1:
            outputs = torch.cat(waiting)  # (events, h)
            for begin in range(first, last, block):
                end = min(begin + block, last)
                yield outputs[begin - first : end - first], schedule.target[begin:end]
            waiting, first = [], last
