from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.clicklog.archive.topic import Archivers


@pytest.fixture
def archive_settings(kafka_settings: Settings, tmp_path: Path) -> Settings:
    return kafka_settings.model_copy(update={"archive_uri": str(tmp_path / "archive")})


@pytest.fixture
def archivers() -> Iterator[Archivers]:
    running = Archivers()
    yield running
    running.close()
