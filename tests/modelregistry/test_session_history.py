"""A model that reads more items than a session stores is refused before any worker hears of it."""

from pathlib import Path

import numpy as np
import pytest

from clicklog.items import ItemIndex
from modelregistry.publishing import promote, publish
from modelregistry.rollback import rollback
from rankers.bundle import Bundle, write_bundle
from rankers.families import FAMILIES
from schemas.errors import BundleError
from schemas.settings import Settings
from tests.modelregistry.memory_topic import MemoryTopic
from tests.worker.deployment import bundle

REFUSED = (
    r"^v2 reads the last 51 items of a session, and NEXTCLICK_SESSION_HISTORY=50 keeps fewer: set it to 51 or more"
)


def reads_51(directory: Path) -> Path:
    network = FAMILIES["stamp"].untrained({"items": 30, "hidden": 4, "window": 51})
    items = ItemIndex(list(range(30)), np.ones(30, dtype=np.int64))
    write_bundle(Bundle("v2", network, items, family="stamp"), directory)
    return directory


async def test_it_is_not_announced_at_the_default(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, models_uri=str(tmp_path / "models"))
    larger = settings.model_copy(update={"session_history": 51})
    topic = MemoryTopic(settings)
    await publish(bundle(tmp_path / "v1", "v1"), topic, settings)
    for shadow in (False, True):
        with pytest.raises(BundleError, match=REFUSED) as error:
            await publish(reads_51(tmp_path / "v2"), topic, settings, shadow=shadow)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "models" / "v2").exists()

    await publish(tmp_path / "v2", topic, larger)
    await publish(bundle(tmp_path / "v3", "v3"), topic, settings)
    with pytest.raises(BundleError, match=REFUSED):
        await promote("v2", topic, settings)
    with pytest.raises(BundleError, match=REFUSED):
        await rollback(topic, settings)
    assert (serving := (await topic.read()).serving) is not None
    assert serving.version == "v3"
    assert (await promote("v2", topic, larger)).version == "v2"
