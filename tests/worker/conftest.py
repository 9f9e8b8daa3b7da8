from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.worker.deployment import Deployment


@pytest.fixture
def deployment(kafka_settings: Settings, tmp_path: Path, compiled_scorer: None) -> Iterator[Deployment]:  # noqa: ARG001
    deployment = Deployment(kafka_settings, tmp_path)
    yield deployment
    deployment.close()
