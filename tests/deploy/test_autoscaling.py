"""The load doubles and halves: how often the autoscaler of the manifests changes the number of workers.

A simulation, in steps of 15 s, of the Horizontal Pod Autoscaler (its algorithm and `behavior`, as its documentation has
them) with the figures of the ScaledObject, over workers that answer a fixed number of clicks a second. The
partitions of a worker that goes have no worker for 45 s, and those that move to a new one for 10 s.
"""

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from schemas.settings import STATIC_GROUP_TIMEOUT
from tests.deploy.deployment_files import manifests

STEP = 15
CAPACITY = 5_000.0
"""Clicks a second of one worker at full CPU."""

HOUR = 3600
(SCALED,) = [manifest["spec"] for manifest in manifests() if manifest["kind"] == "ScaledObject"]


class Autoscaler:
    """Decides the number of replicas every 15 s."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.least, self.most = spec["minReplicaCount"], spec["maxReplicaCount"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        self.up, self.down = behavior["scaleUp"], behavior["scaleDown"]
        by_type = {trigger["type"]: trigger["metadata"] for trigger in spec["triggers"]}
        self.cpu = float(by_type["cpu"]["value"]) / 100 if "cpu" in by_type else None
        self.lag = float(by_type["kafka"]["lagThreshold"])
        self.wishes: list[tuple[int, int]] = []
        self.replicas: list[tuple[int, int]] = []

    def decide(self, now: int, current: int, cpu: float, lag: float) -> int:
        wish = math.ceil(lag / self.lag)
        if self.cpu is not None:
            ratio = cpu / self.cpu
            wish = max(wish, current if abs(ratio - 1) <= 0.1 else math.ceil(current * ratio))
        self.wishes.append((now, min(max(wish, self.least), self.most)))
        self.replicas.append((now, current))
        highest = max(self._within(self.wishes, now, self.down["stabilizationWindowSeconds"]))
        lowest = min(self._within(self.wishes, now, self.up["stabilizationWindowSeconds"]))
        if lowest > current:
            return min(lowest, self._allowed(now, current, self.up, +1))
        if highest < current:
            return max(highest, self._allowed(now, current, self.down, -1))
        return current

    def _allowed(self, now: int, current: int, rule: dict[str, Any], direction: int) -> int:
        (policy,) = rule["policies"]
        begin = self._within(self.replicas, now, policy["periodSeconds"])[0]
        return begin + direction * policy["value"] if policy["type"] == "Pods" else current

    @staticmethod
    def _within(values: Sequence[tuple[int, int]], now: int, seconds: int) -> list[int]:
        return [value for moment, value in values if moment > now - seconds - STEP]


class Run:
    """What happened: the changes of the number of workers, and the clicks that waited."""

    def __init__(self, spec: dict[str, Any], load: Callable[[int], float], hours: float) -> None:
        autoscaler, workers = Autoscaler(spec), 2
        lag, pause, idle = 0.0, 0, 0.0
        self.changes: list[tuple[int, int]] = []
        self.lags: list[float] = []
        for now in range(0, int(hours * HOUR), STEP):
            running = workers * CAPACITY * STEP * (1 - (idle if pause > 0 else 0))
            answered = min(lag + load(now) * STEP, running)
            lag = lag + load(now) * STEP - answered
            pause -= STEP
            wanted = autoscaler.decide(now, workers, answered / STEP / (workers * CAPACITY), lag)
            if wanted != workers:
                pause = 10 if wanted > workers else int(STATIC_GROUP_TIMEOUT.total_seconds())
                idle = abs(wanted - workers) / max(wanted, workers)
                self.changes.append((now, wanted - workers))
                workers = wanted
            self.lags.append(lag)
        self.workers = workers

    @property
    def turns(self) -> int:
        """Changes in the direction opposite to the one before."""
        signs = [math.copysign(1, change) for _, change in self.changes]
        return sum(one != other for one, other in itertools.pairwise(signs))


def doubled_and_halved(now: int) -> float:
    """Clicks a second: 6,000, twice as many from the first to the fourth hour, and as before."""
    return 12_000.0 if HOUR <= now < 4 * HOUR else 6_000.0


def test_a_doubling_and_a_halving_of_the_load_cost_a_few_rebalances_and_no_lag() -> None:
    run = Run(SCALED, doubled_and_halved, 8)
    assert run.turns == 1, run.changes  # up, then down
    assert len(run.changes) <= 4, run.changes
    assert run.workers == 2
    assert run.lags[4 * HOUR // STEP - 1] == 0
    assert max(run.lags) < 12_000 * 600, "more than ten minutes behind"


def test_a_peak_of_a_minute_moves_nothing() -> None:
    run = Run(SCALED, lambda now: 12_000.0 if HOUR <= now < HOUR + 60 else 6_000.0, 2)
    assert run.changes == []


def test_a_load_that_comes_and_goes_every_ten_minutes_is_not_followed_down() -> None:
    run = Run(SCALED, lambda now: 12_000.0 if now // 600 % 2 else 6_000.0, 8)
    assert run.turns == 0, run.changes


@pytest.mark.parametrize("storm", ["no stabilisation", "by the lag alone"])
def test_other_figures_would_storm(storm: str) -> None:
    spec = copy.deepcopy(SCALED)
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    if storm == "no stabilisation":
        for rule in behavior.values():
            rule["stabilizationWindowSeconds"] = 0
            rule["policies"] = [{"type": "Pods", "value": 8, "periodSeconds": 15}]
    else:
        spec["triggers"] = [trigger for trigger in spec["triggers"] if trigger["type"] == "kafka"]
    load = (lambda now: 12_000.0 if now // 600 % 2 else 6_000.0) if storm == "no stabilisation" else lambda _: 11_000.0
    assert Run(spec, load, 8).turns > 4
