"""The value of fresh models: the simulated shop with daily launches, and rhythms of retraining and refreshing.

    python -m benchmarks.freshness --days 12 --plot docs/freshness.png      # ten minutes on one core

    never    trained once on the first days
    daily    trained in full every midnight on the last days
    hourly   warm from the previous model, every hour
    blend    a blend with STAN, trained in full every midnight
    refresh  the same blend, and its neighbours counted anew every five minutes (--every)

The model that served when a session began ranks all its next clicks; an item that the model does not know is a miss.
Every trained or refreshed model is released. Three times are measured of each launched item: from its launch until it
was first among a visitor's 20 recommendations; from its launch until the first click on it while it was among them (the
item is found); and from its third click, before which no model includes it, until a model that includes it serves. CPU
seconds are those of trainings and refreshes.
"""

import dataclasses
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from benchmarks.arguments import parser_for
from clicklog.clicks import Clicks
from nextclick.shop import ShopConfig, open_shop, visit
from nextclick.shop.click_table import click_table
from schemas.click import ItemId
from trainer.config import FitConfig, TrainConfig
from trainer.retraining.candidate import Candidate, train_candidate
from trainer.retraining.judge import Events, rank_by_bundle
from trainer.retraining.recounting import recount
from trainer.warm_start import WarmStart
from worker.recommender import PendingClick, Recommender
from worker.serving_model import ServingModel
from worker.session_state import SessionState, new_session

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
CONFIG = TrainConfig(
    FitConfig(batch_size=64, samples=256, learning_rate=0.1, dropout_hidden=0.2, epochs=10),
    hidden=64,
    min_support=3,
    device="cpu",
)
BLEND = dataclasses.replace(CONFIG, family="blend", validate=0.1)
HOURLY_EPOCHS, HOURLY_REPLAY = 2, 0.1
"""An hour is short compared with the window, so the share of older clicks that is replayed decides the cost."""


@dataclasses.dataclass
class Kept:
    """The results of one rhythm."""

    hits: defaultdict[int, int] = dataclasses.field(default_factory=lambda: defaultdict(int))  # by day
    events: defaultdict[int, int] = dataclasses.field(default_factory=lambda: defaultdict(int))
    included: dict[int, int] = dataclasses.field(default_factory=dict)  # item → ms after its launch
    shown: dict[int, int] = dataclasses.field(default_factory=dict)  # item → ms after its launch
    found: dict[int, int] = dataclasses.field(default_factory=dict)  # item → ms after its launch
    cpu: float = 0.0
    trainings: int = 0
    refreshes: int = 0

    def figures(self, last_day: int, launched: int, known: dict[int, int]) -> dict[str, float | str | None]:
        """The figures to print, out of `launched` launched items; `known`: item → ms from its launch to its third
        click."""
        after = [max(ms - known[item], 0) / MINUTE for item, ms in self.included.items() if item in known]
        shown, found = ([ms / MINUTE for ms in times.values()] for times in (self.shown, self.found))
        return {
            "Recall@20": round(sum(self.hits.values()) / sum(self.events.values()), 4),
            "Recall@20, last day": round(self.hits[last_day] / self.events[last_day], 4),
            "launched items recommended": f"{len(shown)} of {launched}",
            "minutes from launch to recommended, median": round(statistics.median(shown)) if shown else None,
            "minutes from third click to a model with it, median": round(statistics.median(after)) if after else None,
            "launched items found": f"{len(found)} of {launched}",
            "minutes from launch to found, median": round(statistics.median(found)) if found else None,
            "trainings": self.trainings,
            "refreshes": self.refreshes,
            "CPU seconds": round(self.cpu, 1),
        }


@dataclasses.dataclass(frozen=True)
class Rhythm:
    """When models are trained and refreshed.

    Attributes:
        first: days before serving begins.
        window: days that a training or a refresh reads.
        epochs, replay: of a warm training.
        minutes: between two refreshes; a divisor of 60.
    """

    first: int
    window: int
    epochs: int
    replay: float
    minutes: int


def follow(way: str, clicks: pl.DataFrame, launched: dict[int, int], days: int, rhythm: Rhythm) -> Kept:
    """Serve the days from the first one on, hour by hour, or refresh by refresh."""
    kept = Kept()
    begin = int(clicks["timestamp"].min()) // DAY * DAY  # type: ignore[arg-type]
    starts = clicks.with_columns(pl.col("timestamp").min().over("session_id").alias("start"))
    config = BLEND if way in ("blend", "refresh") else CONFIG
    model = _train(clicks.filter(pl.col("timestamp") < begin + rhythm.first * DAY), config, None, kept)
    step = rhythm.minutes * MINUTE if way == "refresh" else HOUR
    for now in range(begin + rhythm.first * DAY, begin + days * DAY, step):
        log = clicks.filter((pl.col("timestamp") < now) & (pl.col("timestamp") >= now - rhythm.window * DAY))
        if now > begin + rhythm.first * DAY:
            if way in ("daily", "blend", "refresh") and (now - begin) % DAY == 0:
                model = _train(log, config, None, kept)
            elif way == "hourly":
                seen = model.bundle.trained_on
                assert seen is not None
                warm = WarmStart(model.bundle, model.memory, seen.last or 0, rhythm.epochs, rhythm.replay)
                model = _train(log, config, warm, kept)
            elif way == "refresh":
                model = _refresh(log, model, kept)
        for item in launched.keys() & model.bundle.items.row_of.keys():
            kept.included.setdefault(int(item), now - launched[int(item)])
        part = starts.filter((pl.col("start") >= now) & (pl.col("start") < now + step))
        _serve(part, model, launched, (now - begin) // DAY, kept)
    return kept


def _train(frame: pl.DataFrame, config: TrainConfig, warm: WarmStart | None, kept: Kept) -> Candidate:
    with tempfile.TemporaryDirectory() as scratch:
        began = time.process_time()
        candidate = train_candidate(Clicks(frame, "the simulated shop"), config, warm, {}, Path(scratch))
        kept.cpu += time.process_time() - began
        kept.trainings += 1
        return candidate


def _refresh(frame: pl.DataFrame, model: Candidate, kept: Kept) -> Candidate:
    began = time.process_time()
    bundle = recount(model.bundle, Clicks(frame, "the simulated shop"), BLEND)
    kept.cpu += time.process_time() - began
    kept.refreshes += 1
    return dataclasses.replace(model, bundle=bundle)


def _serve(sessions: pl.DataFrame, model: Candidate, launched: dict[int, int], day: int, kept: Kept) -> None:
    frame = sessions.sort("start", "session_id", "timestamp", maintain_order=True)
    events = Events.of(frame)
    if not len(events):
        return
    rank = rank_by_bundle(model.bundle, events).rank
    kept.events[day] += len(rank)
    kept.hits[day] += int((rank <= 20).sum())
    for moment, items in _recommended(sessions.sort("timestamp"), model):
        for item in launched.keys() & items:
            kept.shown.setdefault(item, moment - launched[item])
    usable = frame.filter(pl.len().over("session_id") >= 2)
    same = (usable["session_id"] == usable["session_id"].shift(1)).fill_null(False)
    target = usable.filter(same)
    for item, moment in target.filter(pl.Series(rank <= 20)).select("item_id", "timestamp").iter_rows():
        if item in launched and item not in kept.found:
            kept.found[item] = moment - launched[item]


def _recommended(clicks: pl.DataFrame, model: Candidate) -> Iterator[tuple[int, Sequence[ItemId]]]:
    """(time, recommended items) of each click, as a worker answers it."""
    recommender = Recommender(gap_ms=DAY, history=50, model=ServingModel(model.bundle, torch.device("cpu")))
    states: defaultdict[int, SessionState] = defaultdict(lambda: new_session(0))
    batch = [
        PendingClick(0, offset, str(session).encode(), session, item, moment, states[session])
        for offset, (session, item, moment) in enumerate(clicks.select("session_id", "item_id", "timestamp").rows())
    ]
    for click, answer in zip(batch, recommender.recommend(batch, 0).answers, strict=True):
        assert answer is not None
        yield click.timestamp, answer.items


def plot(results: dict[str, Kept], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for way, kept in results.items():
        days = sorted(kept.events)
        axes.plot([day + 1 for day in days], [kept.hits[day] / kept.events[day] for day in days], marker="o", label=way)
    axes.set(xlabel="day", ylabel="Recall@20, live", title="What freshness is worth")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--first", type=int, default=2, help="days before serving begins")
    parser.add_argument("--window", type=int, default=4, help="days that a training reads")
    parser.add_argument("--sessions", type=int, default=4000, help="a day")
    parser.add_argument("--epochs", type=int, default=HOURLY_EPOCHS, help="of a warm training")
    parser.add_argument("--replay", type=float, default=HOURLY_REPLAY, help="share of the older sessions in it")
    parser.add_argument("--every", type=int, default=5, help="minutes between two refreshes")
    parser.add_argument("--only", help="one of the ways")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shop = open_shop(ShopConfig(), options.days, options.seed)
    visits = visit(shop, options.sessions * options.days, options.seed)
    clicks = click_table(visits)
    begin = int(visits.timestamp.min()) // DAY * DAY
    launched = {
        int(item) + 1: begin + int(shop.launch_day[item]) * DAY
        for item in np.flatnonzero(shop.launch_day >= options.first)
    }
    thirds = clicks.sort("timestamp").group_by("item_id").agg(pl.col("timestamp").slice(2, 1).first())
    third = {item: at - launched[item] for item, at in thirds.iter_rows() if item in launched and at is not None}
    for config in (CONFIG, BLEND):  # uncounted: it compiles what all trainings use
        _train(clicks.filter(pl.col("timestamp") < begin + DAY), config, None, Kept())
    results = {}
    rhythm = Rhythm(options.first, options.window, options.epochs, options.replay, options.every)
    for way in [options.only] if options.only else ["never", "daily", "hourly", "blend", "refresh"]:
        kept = results[way] = follow(way, clicks, launched, options.days, rhythm)
        figures = {"way": way, **kept.figures(options.days - 1, len(launched), third)}
        print(json.dumps(figures), flush=True)
    if options.plot is not None:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
