"""Refreshes of logs with faults, over a models topic and a log in memory: what is served, and what is refused."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from clicklog.clicks import Clicks
from modelregistry.publishing import publish
from rankers.bundle import Bundle, read_bundle, write_bundle
from schemas.decision import Decision
from schemas.settings import Settings
from tests.modelregistry.memory_topic import MemoryTopic
from tests.trainer.retraining.shopclicks import shop_clicks
from tests.trainer.retraining.test_refresh import HOUR, STAN, before, counted
from tests.trainer.retraining.test_release import FakeConnection, FakeLease
from trainer.options import used_values
from trainer.retraining import refresh as module
from trainer.retraining.recounting import recount
from trainer.retraining.refresh import refresh
from trainer.retraining.sanity import Insane, check_answers, check_size, compare_neighbours
from trainer.train import train

pytestmark = pytest.mark.usefixtures("compiled_kernel")

NEWEST = cast(int, shop_clicks()["timestamp"].max())


class Shop:
    """A deployment in memory."""

    def __init__(self, directory: Path) -> None:
        self.settings = Settings(_env_file=None, models_uri=str(directory / "models"))
        self.topic = MemoryTopic(self.settings)
        self.said: list[str] = []
        self.frame = pl.DataFrame()
        self.offsets: dict[int, tuple[int, int]] = {}
        self._directory = directory

    def serve(self, frame: pl.DataFrame, offsets: dict[int, tuple[int, int]] | None = None) -> Bundle:
        """Publish a model of these clicks, which were read with these offsets."""
        made = train(replace(_sorted(frame), offsets=offsets or {}), STAN).bundle
        write_bundle(made, self._directory / "made")
        asyncio.run(publish(self._directory / "made", self.topic, self.settings))
        return made

    def refresh(self, frame: pl.DataFrame, lost: int = 0) -> Decision:
        """Refresh from a log of these clicks, of which the first ones are lost."""
        self.frame, self.offsets = frame[lost:], {0: (lost, len(frame))}
        return refresh(self.settings, self.said.append)

    def log(self, *_: object, **__: object) -> contextlib.AbstractContextManager[Any]:
        log = SimpleNamespace(missing=[], skipped=0, frame=lambda: self.frame, source="the log", offsets=self.offsets)
        return contextlib.nullcontext(log)

    @property
    def serving(self) -> Bundle:
        serving = asyncio.run(self.topic.read()).serving
        assert serving is not None
        return read_bundle(Path(self.settings.models_uri) / serving.version)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop(tmp_path)

    @contextlib.contextmanager
    def leased(*_: object) -> Iterator[FakeConnection]:
        yield FakeConnection(shop.topic, FakeLease())

    monkeypatch.setattr(module, "lease_topic", leased)
    monkeypatch.setattr(module, "open_log", shop.log)
    return shop


def test_a_log_that_lost_most_of_its_clicks_is_not_served_by_a_quiet_shop(shop: Shop) -> None:
    frame = shop_clicks()
    served = shop.serve(frame.filter(pl.col("timestamp") < NEWEST - HOUR // 2))
    lost = len(frame.filter(before(2)))
    decision = shop.refresh(frame, lost=lost)
    assert "too few sessions are newer than" in shop.said[-1]
    assert (decision.outcome, shop.serving.version) == ("kept", served.version)
    assert decision.reason.startswith("only ")
    assert f"clicks instead of the {served.trained_on.clicks:,} of {served.version}" in decision.reason  # type: ignore[union-attr]
    assert asyncio.run(shop.topic.read()).decisions()[-1] == decision
    assert shop.refresh(frame, lost=len(frame) // 3).outcome == "refreshed", "the window may shrink a little"


def test_a_log_that_lost_most_of_its_items_is_refused_without_a_comparison(tmp_path: Path) -> None:
    frame = shop_clicks(1500).sort("session_id", maintain_order=True)
    serving = counted(tmp_path / "stan", frame)
    popular = frame["item_id"].value_counts(sort=True)["item_id"].head(len(serving.items) // 3)
    few = recount(serving, Clicks(frame.filter(pl.col("item_id").is_in(popular.implode())), "the log"), STAN)
    refreshed = replace(few, trained_on=serving.trained_on)  # as many clicks
    with pytest.raises(
        Insane, match=rf"only {len(few.items)} items with clicks instead of the {len(serving.items)} of"
    ):
        check_size(serving, refreshed, "the log")
    check_size(serving, recount(serving, Clicks(frame, "the log"), STAN), "the log")


def test_a_click_of_a_clock_that_is_ahead_stops_neither_refreshes_nor_the_comparison(shop: Shop) -> None:
    frame = shop_clicks()
    ahead = pl.DataFrame(
        {"session_id": [10**6] * 2, "item_id": frame["item_id"][:2], "timestamp": [NEWEST + 20 * HOUR] * 2}
    )
    shop.serve(frame.filter(before(24)))
    first = shop.refresh(pl.concat([frame.filter(before(12)), ahead]))
    assert first.outcome == "refreshed", first.reason
    assert shop.serving.trained_on.last == NEWEST + 20 * HOUR  # type: ignore[union-attr]
    assert shop.refresh(pl.concat([frame.filter(before(12)), ahead])).reason.startswith("nothing new: ")
    second = shop.refresh(pl.concat([frame.filter(before(12)), ahead, frame.filter(~before(12))]))
    assert second.outcome == "refreshed", second.reason

    judged = compare_neighbours(
        read_bundle(Path(shop.settings.models_uri) / str(first.candidate)), _sorted(frame), STAN, NEWEST - 12 * HOUR
    )
    assert judged is not None
    assert judged.sessions == 200


def test_a_file_with_clicks_of_the_future_does_not_stop_refreshes(shop: Shop) -> None:
    shop.serve(shop_clicks().filter(before(12)).with_columns(pl.col("timestamp") + 1000 * HOUR))
    decision = shop.refresh(shop_clicks().with_columns(pl.col("timestamp") + HOUR))  # some are after the announcement
    assert decision.outcome == "refreshed", decision.reason


def test_what_a_retraining_held_out_is_counted_by_the_first_refresh_after_it(shop: Shop) -> None:
    shop.serve(shop_clicks().filter(before(12)), {0: (0, len(shop_clicks()))})
    assert shop.refresh(shop_clicks()).outcome == "refreshed"
    assert shop.refresh(shop_clicks()).reason.startswith("nothing new: ")


def _sorted(frame: pl.DataFrame) -> Clicks:
    return Clicks(frame.sort("session_id", maintain_order=True), "the log")


@pytest.mark.parametrize("made_by", ["train", "retrain"])
def test_a_refresh_keeps_items_and_sessions_by_the_rule_of_the_models_training(made_by: str, tmp_path: Path) -> None:
    clicks, config = _sorted(shop_clicks(150)), replace(STAN, min_support=1, min_length=3)
    told: dict[str, Any] = used_values(config)
    told = told if made_by == "train" else {"lineage": {"settings": told}}
    write_bundle(train(clicks, config, told).bundle, tmp_path / "made")
    made = read_bundle(tmp_path / "made")
    refreshed = recount(made, clicks, STAN)
    assert refreshed.items.ids == made.items.ids
    assert refreshed.trained_on.clicks == made.trained_on.clicks  # type: ignore[union-attr]
    again = recount(refreshed, clicks, STAN)
    assert again.items.ids == made.items.ids
    unsaid = recount(replace(made, settings={}), clicks, STAN)
    assert len(unsaid.items) < len(made.items)


def test_a_model_that_does_not_say_its_rule_is_refreshed_by_that_of_retrainings(shop: Shop) -> None:
    shop.serve(shop_clicks().filter(before(12)))
    served = shop.serving.version
    assert shop.refresh(shop_clicks()).outcome == "refreshed"
    assert (
        f"{served} does not say its min-support and min-length: taking 5 and 2 (NEXTCLICK_RETRAIN_CONFIG)" in shop.said
    )


def test_clicks_of_no_use_are_refused_by_the_gate(tmp_path: Path) -> None:
    frame = shop_clicks().sort("session_id", maintain_order=True)
    serving = counted(tmp_path / "stan", shop_clicks().filter(before(24)))
    wrong = pl.when(before(8)).then(pl.col("item_id") + 100_000).otherwise(pl.col("item_id")).alias("item_id")
    with pytest.raises(Insane, match=f"with new neighbours the model is surely worse than {serving.version}: -0"):
        compare_neighbours(serving, Clicks(frame.with_columns(wrong), "the log"), STAN, NEWEST)
    judged = compare_neighbours(serving, Clicks(frame, "the log"), STAN, NEWEST)
    assert judged is not None
    assert judged.sessions == 200
    few = frame.filter(before(24) | (pl.col("session_id") == frame.filter(~before(1))["session_id"][0]))
    assert compare_neighbours(serving, Clicks(few, "the log"), STAN, NEWEST) is None


def test_a_model_that_does_not_answer_is_refused(tmp_path: Path) -> None:
    frame = shop_clicks(500).sort("session_id", maintain_order=True)
    serving = counted(tmp_path / "stan", frame)
    check_answers(serving, Clicks(frame, "the log"))
    with pytest.raises(Insane, match="none of the newest 100 sessions has an item of the refreshed model"):
        check_answers(serving, Clicks(frame.with_columns(pl.col("item_id") + 100_000), "the log"))
