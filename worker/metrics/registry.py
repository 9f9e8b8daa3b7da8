"""The registry of all collectors of one worker."""

from prometheus_client import CollectorRegistry, ProcessCollector

from worker.delivery.app import DeliveryApp
from worker.metrics.answers import AnswerMetrics
from worker.metrics.group import GroupMetrics
from worker.metrics.models import ModelMetrics
from worker.metrics.partitions import PartitionMetrics
from worker.model_follower import ModelFollower
from worker.pipeline import Pipeline
from worker.recommender import Recommender


def registry_of(
    app: DeliveryApp, pipeline: Pipeline, recommender: Recommender, follower: ModelFollower
) -> CollectorRegistry:
    """A registry that reads the figures of one worker whenever it is asked. All counters start at 0 with the worker."""
    registry = CollectorRegistry()
    for collector in (
        AnswerMetrics(app, pipeline),
        pipeline.latency,
        pipeline.stages,
        ModelMetrics(recommender, follower),
        PartitionMetrics(app, pipeline),
        GroupMetrics(app, pipeline),
    ):
        registry.register(collector)
    ProcessCollector(registry=registry)
    return registry
