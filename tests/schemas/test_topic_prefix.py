"""One prefix for all names on a cluster that grants topics and consumer groups by prefix."""

from pathlib import Path

import pytest

from messaging.contracts import topic_contracts
from schemas.errors import SettingsError
from schemas.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names(settings: Settings) -> set[str]:
    return {contract.name for contract in topic_contracts(settings)}


def test_the_prefix_begins_all_topics_and_groups_that_have_their_default_name(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = load_settings()
    monkeypatch.setenv("NEXTCLICK_TOPIC_PREFIX", "shop.")
    prefixed = load_settings()
    assert names(prefixed) == {f"shop.{name}" for name in names(bare)}
    assert prefixed.app_id == "shop.nextclick"


def test_a_name_that_is_set_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_TOPIC_PREFIX", "shop.")
    monkeypatch.setenv("NEXTCLICK_CLICKS_TOPIC", "events")
    monkeypatch.setenv("NEXTCLICK_APP_ID", "recs")
    settings = load_settings()
    assert (settings.clicks_topic, settings.models_topic) == ("events", "shop.models")
    assert settings.changelog_topic == "recs-sessions-changelog"


def test_a_prefix_that_no_topic_can_have_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_TOPIC_PREFIX", "shop/")
    with pytest.raises(SettingsError, match=r"^NEXTCLICK_TOPIC_PREFIX='shop/': [^;]*$"):
        load_settings()
