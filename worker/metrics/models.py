"""The models in use: which, how old, and how long they took to be ready."""

import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from worker.model_follower import ModelFollower
from worker.recommender import Recommender

LABELS = ("model_version", "role")


class ModelMetrics:
    """The champion and the shadow, and announcements that were refused."""

    def __init__(self, recommender: Recommender, follower: ModelFollower) -> None:
        self._recommender, self._follower = recommender, follower

    def collect(self) -> Iterator[Metric]:
        """One family per figure."""
        yield CounterMetricFamily(
            "nextclick_models_refused", "Announced models that were refused", value=self._follower.refused
        )
        serving = GaugeMetricFamily("nextclick_model", "1 for each model in use", labels=LABELS)
        age = GaugeMetricFamily(
            "nextclick_model_age_seconds",
            "Time since its network was first announced; a refresh does not begin it anew",
            labels=LABELS,
        )
        clicks_age = GaugeMetricFamily(
            "nextclick_model_newest_click_age_seconds",
            "Age of the newest click that it was trained on or its neighbours were counted on",
            labels=LABELS,
        )
        refresh_age = GaugeMetricFamily(
            "nextclick_model_refresh_age_seconds",
            "Time since the refresh that made it was announced; missing where it is no refresh",
            labels=LABELS,
        )
        swap = GaugeMetricFamily(
            "nextclick_model_swap_seconds", "From its announcement being read until it was ready", labels=LABELS
        )
        now = time.time()
        for role, model in (("champion", self._recommender.model), ("shadow", self._recommender.shadow)):
            if model is None:
                continue
            who = (model.version, role)
            serving.add_metric(who, 1)
            taken_up = model.taken_up
            if taken_up is None:
                continue
            age.add_metric(who, now - taken_up.announced_at)
            swap.add_metric(who, taken_up.seconds)
            if taken_up.newest_click is not None:
                clicks_age.add_metric(who, now - taken_up.newest_click)
            if taken_up.refreshed_at is not None:
                refresh_age.add_metric(who, now - taken_up.refreshed_at)
        yield from (serving, age, clicks_age, refresh_age, swap)
