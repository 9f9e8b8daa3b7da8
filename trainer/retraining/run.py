"""One retraining, from the log to the decision.

Everything is read and checked before the training, and whatever fails leaves the serving model alone. The decision is
recorded on the models topic in every case that a broker can be reached in.
"""

import asyncio
import importlib.metadata
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import torch

from clicklog.clicks import Clicks, without_repetitions
from clicklog.log import empty, open_log
from clicklog.sessions import cut_by_silence
from messaging.topics import check_topics
from modelregistry import retention as registry
from modelregistry.decision_log import record
from modelregistry.fetching import fetch
from modelregistry.lease import Lease
from modelregistry.publishing import announcements, models_now, publish_bundle, score_shadow
from rankers.baselines import make_baseline
from rankers.bundle import Bundle, read_bundle, write_bundle
from rankers.device import choose_device
from schemas.announcement import ModelAnnouncement
from schemas.decision import Decision, Judgement
from schemas.durations import milliseconds
from schemas.errors import BundleError, NextclickError, TrainingError
from schemas.settings import Settings
from trainer.config import TrainConfig
from trainer.fit import Progress
from trainer.presets import RETRAINING
from trainer.retraining.candidate import Candidate, train_candidate
from trainer.retraining.holdout import Holdout, check_newest, split_holdout, without_the_future
from trainer.retraining.judge import Events, difference, rank_by_baseline, rank_by_bundle
from trainer.settings_file import read_train_config
from trainer.warm_start import WarmStart

FEWEST = 20
"""Sessions to judge by: below this no interval means anything."""

RESUME_POINT = "plan.json"
RESUME_MS = 86_400_000
"""A plan that is older is not gone on with."""


@dataclass(frozen=True)
class ResumePoint:
    """What a retraining was about when it began: one that was killed goes on with the same clicks.

    Attributes:
        since: clicks from then on, ms since 1970 UTC.
        now: when it began, by this machine's clock.
        ends: partition → the offset to read up to.
        serving: version that served.
        settings: digest of what decides the training.
    """

    since: int
    now: int
    ends: dict[int, int]
    serving: str | None
    settings: str


def retrain(
    settings: Settings,
    say: Callable[[str], None] = lambda _line: None,
    progress: Callable[[Progress], None] | None = None,
    now: int | None = None,
) -> Decision:
    """Read the log, train a candidate, judge it, publish it if it is better, and record the decision.

    Args:
        settings: of the deployment.
        say: called with a line for people.
        progress: as `trainer.fit` calls it.
        now: of this machine's clock, ms since 1970 UTC, if not the clock's own.

    Raises:
        NextclickError: it could not be decided; the failure is recorded too, and the serving model is left alone.
    """
    began = datetime.now(UTC)
    asyncio.run(check_topics(settings, [settings.models_topic, settings.clicks_topic]))
    run = _Run(settings, say, progress, now or time.time_ns() // 1_000_000)
    with Lease(settings) as lease:
        cpu = time.process_time()
        try:
            decision = run.decide(lease)
        except NextclickError as error:
            _record(run.decision("failed", str(error), began, cpu), settings, say)
            raise
        decision = decision.model_copy(
            update={"began_at": began, "decided_at": datetime.now(UTC), "cpu_seconds": time.process_time() - cpu}
        )
        _record(decision, settings, say)
        run.forget()
    return decision


def _record(decision: Decision, settings: Settings, say: Callable[[str], None]) -> None:
    try:
        asyncio.run(record(decision, settings))
    except NextclickError as error:
        say(f"the decision could not be recorded: {error}")


class _Run:
    """The state of one retraining, as far as it has come."""

    def __init__(
        self, settings: Settings, say: Callable[[str], None], progress: Callable[[Progress], None] | None, now: int
    ) -> None:
        self.settings = settings
        self.say = say
        self.progress = progress
        self.now = now
        self.place = settings.data_dir / "retraining" / settings.model_name
        self.serving: ModelAnnouncement | None = None
        self.candidate: Candidate | None = None
        self.missing: list[str] = []
        self.judgement: Judgement | None = None
        self.offsets: dict[int, tuple[int, int]] = {}

    def decision(self, outcome: Any, reason: str, began: datetime | None = None, cpu: float = 0.0) -> Decision:
        """The end of this run, as a record."""
        moment = datetime.now(UTC)
        bundle = self.candidate.bundle if self.candidate else None
        return Decision(
            name=self.settings.model_name,
            id=f"{moment:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
            outcome=outcome,
            reason=" ".join(reason.split()),
            began_at=began or moment,
            decided_at=moment,
            candidate=bundle.version if bundle else None,
            serving=self.serving.version if self.serving else None,
            kind=self.candidate.kind if self.candidate else None,
            trained_on=bundle.trained_on if bundle else None,
            judgement=self.judgement,
            missing=self.missing,
            cpu_seconds=time.process_time() - cpu if cpu else 0.0,
            package=importlib.metadata.version("nextclick"),
        )

    def decide(self, lease: Lease) -> Decision:
        settings = self.settings
        registry.check_writable(settings)
        config = replace(
            read_train_config(settings.retrain_config, RETRAINING) if settings.retrain_config else RETRAINING,
            device=settings.device,
        )
        choose_device(config.device)  # now, and not after the log was read
        torch.set_num_threads(settings.torch_threads)
        history, scored = asyncio.run(models_now(settings))
        self.serving = history[-1] if history else None
        if settings.retrain_release == "shadow" and self.serving and scored and scored.version != self.serving.version:
            return self.decision("kept", f"{scored.version} is still scored beside {self.serving.version}")
        parent = self._fetch(self.serving) if self.serving else None
        frame = self._read(self._plan(config))
        parted = split_holdout(
            frame, parent.trained_on.last if parent and parent.trained_on else None, settings.retrain_holdout
        )
        judged = parted.judged.filter(pl.len().over("session_id") >= 2)["session_id"].n_unique()
        if judged < FEWEST:
            if parent is None:
                raise TrainingError(
                    f"there is nothing to judge by: the log holds {parted.unseen:,} sessions of two clicks or more, "
                    f"and a fifth of them is to be {FEWEST} at least; collect more clicks, or train by "
                    "`nextclick train --publish`"
                )
            return self.decision(
                "kept",
                f"{parted.unseen:,} sessions are newer than those that {parent.version} was trained on: too few to "
                f"learn from half and judge by the other half; {parent.version} serves on",
            )
        self.candidate = self._train(parted, parent, config)
        reason = self._judge(parted, parent, self.candidate)
        assert self.judgement is not None
        over = self.judgement.over.get("serving")
        as_shadow = over is not None and settings.retrain_release == "shadow" and over.high > settings.retrain_margin
        if reason is not None and not as_shadow:
            return self.decision("kept", reason)
        lease.check()
        against = parent.version if parent else "popularity"
        now = asyncio.run(announcements(settings))
        if (now[-1].version if now else None) != (self.serving.version if self.serving else None):
            return self.decision(
                "kept", f"{now[-1].version} was announced meanwhile, and the candidate was compared with {against}"
            )
        version = self._publish(self.candidate, shadow=as_shadow)
        if as_shadow:
            return self.decision("shadowed", f"{version} is scored beside {against} until live evidence decides")
        over = over or self.judgement.over["popularity"]
        return self.decision(
            "published",
            f"{version} is better than {against} by {over.value:+.4f} Recall@20 (95 %: {over.low:+.4f} to "
            f"{over.high:+.4f}) on {self.judgement.events:,} next clicks",
        )

    def forget(self) -> None:
        """Once decided, nothing is left to go on with."""
        shutil.rmtree(self.place, ignore_errors=True)

    def _fetch(self, announcement: ModelAnnouncement) -> Bundle:
        with tempfile.TemporaryDirectory(prefix="nextclick-retrain-") as scratch:
            directory = Path(scratch) / "bundle"
            try:
                fetch(announcement.uri, self.settings.models_uri, directory)
                return read_bundle(directory, announcement.sha256)
            except BundleError as error:
                raise BundleError(
                    f"the serving model {announcement.version} cannot be fetched, so nothing can be compared with it "
                    f"({error}): put its bundle back, or promote another version"
                ) from error

    def _plan(self, config: TrainConfig) -> ResumePoint | None:
        """The plan of a run that was killed, if it still holds."""
        try:
            kept = json.loads((self.place / RESUME_POINT).read_text())
            plan = ResumePoint(**{**kept, "ends": {int(number): end for number, end in kept["ends"].items()}})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            plan = None
        self._settings = repr((config, self.settings.retrain_mode, self.settings.retrain_window))
        version = self.serving.version if self.serving else None
        if plan is None or (plan.serving, plan.settings) != (version, self._settings):
            return None
        if not 0 <= self.now - plan.now < RESUME_MS:
            return None
        self.say("going on with a retraining that was interrupted")
        return plan

    def _read(self, plan: ResumePoint | None) -> pl.DataFrame:
        """The clicks of the window, cut into sessions."""
        settings = self.settings
        since = plan.since if plan else max(self.now - milliseconds(settings.retrain_window), 0)
        self.now = plan.now if plan else self.now
        with open_log(settings, since) as log:
            self.missing = [str(line) for line in log.missing]
            for line in self.missing:
                self.say(f"missing: {line}")
            frame = log.frame()
            self.offsets, source = log.offsets, log.source
            if log.skipped:
                self.say(f"{log.skipped:,} messages are no valid click: skipped")
        if plan is not None:
            ends = pl.DataFrame(
                {"partition": list(plan.ends), "end": list(plan.ends.values())},
                schema={"partition": pl.Int32, "end": pl.Int64},
            )
            frame = frame.join(ends, on="partition", maintain_order="left").filter(pl.col("offset") < pl.col("end"))
            self.offsets = {n: (first, plan.ends.get(n, end)) for n, (first, end) in self.offsets.items()}
        if frame.is_empty():
            raise TrainingError(empty(source, since, None) + " (NEXTCLICK_RETRAIN_WINDOW)")
        frame, ahead = without_the_future(frame, self.now, milliseconds(settings.clock_tolerance))
        if ahead:
            self.say(f"{ahead:,} clicks are stamped later than now (NEXTCLICK_CLOCK_TOLERANCE): left out")
        check_newest(frame, self.now, milliseconds(settings.retrain_max_age), source)
        self.source = source
        self._keep(
            ResumePoint(
                since,
                self.now,
                {number: end for number, (_, end) in self.offsets.items()},
                self.serving.version if self.serving else None,
                self._settings,
            )
        )
        self.say(f"{source}: {len(frame):,} clicks")
        clicks = without_repetitions(frame.select("session_id", "item_id", "timestamp"))
        return cut_by_silence(clicks, milliseconds(settings.session_gap))

    def _keep(self, plan: ResumePoint) -> None:
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            scratch = self.place / f".{RESUME_POINT}"
            scratch.write_text(json.dumps(asdict(plan)))
            scratch.replace(self.place / RESUME_POINT)
        except OSError as error:
            raise TrainingError(f"cannot write to {self.place} (NEXTCLICK_DATA_DIR): {error.strerror}") from error

    def _train(self, parted: Holdout, parent: Bundle | None, config: TrainConfig) -> Candidate:
        settings = self.settings
        warm = None
        if parent is not None and settings.retrain_mode == "warm":
            shape = parent.network.config
            if shape == config.shape(shape.items):
                warm = WarmStart(
                    parent,
                    registry.get_optimiser_state(parent.version, settings),
                    (parent.trained_on.last if parent.trained_on else None) or 0,
                    settings.retrain_epochs,
                    settings.retrain_replay,
                )
            else:
                self.say(f"{parent.version} has another shape than the settings ask for: training in full")
        lineage = {
            "parent": parent.version if parent else None,
            "kind": "full" if warm is None else "warm",
            "window": [int(parted.train["timestamp"].min()), int(parted.train["timestamp"].max())]  # type: ignore[arg-type]
            if len(parted.train)
            else None,
            "package": importlib.metadata.version("nextclick"),
            "settings": asdict(config),
        }
        clicks = Clicks(parted.train, self.source, self.offsets)
        return train_candidate(clicks, config, warm, lineage, self.place / "checkpoint", self.progress)

    def _judge(self, parted: Holdout, parent: Bundle | None, candidate: Candidate) -> str | None:
        """Judge the candidate; returns why it is not to be published, or None."""
        events = Events.of(parted.judged)
        ranked = {"candidate": rank_by_bundle(candidate.bundle, events)}
        if parent is not None:
            ranked["serving"] = rank_by_bundle(parent, events)
        for rival, name in (("pop", "popularity"), ("vs-knn", "vs-knn")):
            method = make_baseline(rival)
            method.fit(candidate.sessions, len(candidate.index))
            ranked[name] = rank_by_baseline(method, candidate.index, events)
        own = ranked["candidate"]
        margin = self.settings.retrain_margin
        self.judgement = Judgement(
            sessions=events.sessions,
            events=len(events),
            first=parted.judged["timestamp"].min(),  # type: ignore[arg-type]
            last=parted.judged["timestamp"].max(),  # type: ignore[arg-type]
            figures={name: method.figures for name, method in ranked.items()},
            over={name: difference(own, method) for name, method in ranked.items() if name != "candidate"},
            margin=margin,
        )
        for name, figures in self.judgement.figures.items():
            self.say(f"{name:10} Recall@20 {figures.recall:.4f}  MRR@20 {figures.mrr:.4f}")
        figures = self.judgement.figures["candidate"]
        candidate.bundle.metrics.update({"recall@20": figures.recall, "mrr@20": figures.mrr})
        checks = [("popularity", 0.0, "popularity")]
        if parent is not None:
            checks.insert(0, ("serving", margin, parent.version))
        for name, least, title in checks:
            over = self.judgement.over[name]
            if not over.low > least:
                return (
                    f"the candidate is not surely better than {title} by more than {least:g}: {over.value:+.4f} "
                    f"Recall@20 (95 %: {over.low:+.4f} to {over.high:+.4f}) on {len(events):,} next clicks"
                )
        return None

    def _publish(self, candidate: Candidate, *, shadow: bool) -> str:
        """Have it served, and the model before it scored beside it; or have it scored beside the one that serves."""
        with tempfile.TemporaryDirectory(prefix="nextclick-retrain-") as scratch:
            directory = Path(scratch) / "bundle"
            write_bundle(candidate.bundle, directory)
            registry.put_optimiser_state(candidate.bundle.version, candidate.memory, self.settings)
            version = asyncio.run(publish_bundle(directory, self.settings, shadow=shadow)).version
        if self.serving is not None and not shadow:
            asyncio.run(score_shadow(self.serving, "former", self.settings))
        return version
