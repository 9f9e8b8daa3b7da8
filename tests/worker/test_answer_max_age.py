"""NEXTCLICK_ANSWER_MAX_AGE: clicks that are too old step their sessions, and get no answer."""

import asyncio
import time
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from schemas.settings import Settings
from tests.topics import create_with_producers_times
from tests.worker.deployment import Deployment, clicks_of
from tests.worker.test_recommender import NOW, Stream, model, stream
from tests.worker.test_serving import metrics
from worker.delivery.records import RecordBatch
from worker.microbatch import decode
from worker.serving_model import ServingModel

HOUR = 3_600_000


def aging(serving: ServingModel | None, too_old: range) -> Stream:
    """A stream in which the clicks at these offsets are too old."""
    feed = stream(serving)
    feed.too_old = too_old
    return feed


@pytest.mark.parametrize("batches", [[12], [1] * 12, [3, 4, 5]])
def test_the_session_goes_on_as_if_every_click_had_been_answered(tmp_path: Path, batches: list[int]) -> None:
    serving = model(tmp_path)
    feed, straight = aging(serving, range(2, 8)), stream(serving)
    clicks = [(f"s{n % 2}", n) for n in range(12)]
    mine, theirs, too_old = [], [], 0
    for size in batches:
        batch, clicks = clicks[:size], clicks[size:]
        mine += feed.click(*batch)
        theirs += straight.click(*batch)
        too_old += feed.outcome.too_old
    assert too_old == 6
    assert mine == theirs[:2] + [None] * 6 + theirs[8:]
    assert all(answer is not None for answer in theirs)
    for session in ("s0", "s1"):
        assert feed.state(session) == straight.state(session)


def test_an_answer_that_was_never_sent_is_no_label(tmp_path: Path) -> None:
    champion, shadow = model(tmp_path), model(tmp_path, "v2", 1, hidden=16)
    feed = aging(champion, range(1, 3))
    feed.recommender.shadow = shadow
    labels, duels = [], []
    for item in range(5):
        feed.click(("s", item))
        labels.append(sorted(label.model_version or "" for label in feed.outcome.labels))
        duels.append(len(feed.outcome.duels))
    # Click 1 judges the answer to click 0. Clicks 1 and 2 got none, so clicks 2 and 3 judge none.
    assert labels == [[], ["v1", "v2"], [], [], ["v1", "v2"]]
    assert duels == [0, 1, 0, 0, 1]


def test_a_redelivered_click_is_not_counted_as_too_old(tmp_path: Path) -> None:
    feed = aging(model(tmp_path), range(0))
    feed.click(("s", 1))
    feed.offset, feed.too_old = 0, range(2)
    assert feed.click(("s", 1), ("s", 2)) == [None, None]
    assert feed.outcome.too_old == 1


def test_a_backlog_that_nobody_waits_for_is_not_ranked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = model(tmp_path)
    monkeypatch.setattr(serving, "answers", lambda *_: pytest.fail("ranked"))
    assert aging(serving, range(9)).click(("s", 1), ("t", 2)) == [None, None]


def test_clicks_before_the_first_model_count_as_popular_at_any_age() -> None:
    feed = aging(None, range(3))
    feed.click(*[(f"s{n}", "often") for n in range(3)])
    (answer,) = feed.click(("t", "rare"))
    assert answer is not None
    assert answer.items == ["often", "rare"]


@pytest.mark.parametrize(
    ("oldest", "expected"),
    [(0, [False] * 4), (NOW, [False, True, False, False]), (NOW + 1, [False, True, True, False])],
)
def test_the_record_time_decides(oldest: int, expected: list[bool]) -> None:
    value = msgspec.json.encode({"session_id": "s", "item_id": 1, "timestamp": NOW})
    records = [
        ConsumerRecord("clicks", 0, offset, moment, 0, b"s", value, None, 1, 1, ())
        for offset, moment in enumerate([-1, NOW - 1, NOW, NOW + 1])  # -1: the producer set none
    ]
    batch = decode([RecordBatch("clicks", 0, 1, records)], 0, NOW, oldest=oldest)
    assert [click.too_old for click in batch.clicks] == expected


async def send(settings: Settings, clicks: list[tuple[str, int, int]], record_time: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.brokers) as producer:
        for session, item, moment in clicks:
            value = msgspec.json.encode({"session_id": session, "item_id": item, "timestamp": moment})
            await producer.send(settings.clicks_topic, value, key=session.encode(), timestamp_ms=record_time)


@pytest.mark.slow
@pytest.mark.xdist_group("incidents")
@pytest.mark.usefixtures("compiled_scorer")
def test_after_an_outage_only_fresh_clicks_are_answered(
    bare_settings: Settings, tmp_path: Path, free_port: int
) -> None:
    asyncio.run(create_with_producers_times(bare_settings))
    deployment = Deployment(bare_settings, tmp_path)
    try:
        _an_outage_of_an_hour(deployment, free_port)
    finally:
        deployment.close()


def _an_outage_of_an_hour(deployment: Deployment, free_port: int) -> None:
    settings, now = deployment.settings, time.time_ns() // 1_000_000
    deployment.publish()
    waves = [[click for click in clicks_of(50, 4, seed=0) if click[1] % 4 == part] for part in range(3)]
    asyncio.run(send(settings, waves[0], now))
    asyncio.run(send(settings, waves[1], now - HOUR))
    asyncio.run(send(settings, waves[2], now))
    deployment.start(NEXTCLICK_ANSWER_MAX_AGE="10m", NEXTCLICK_WEB_PORT=str(free_port), web=True)
    deployment.wait_for_answers(len(waves[0]) + len(waves[2]))
    expected, states = deployment.undisturbed()
    deployment.wait_until(lambda: deployment.states().keys() == states.keys(), "a state of every session")
    outcome = deployment.outcome()
    old = {name for name, click in outcome.clicks.items() if click.timestamp == now - HOUR}
    assert set(outcome.answers) == set(outcome.clicks) - old
    assert not outcome.unequal({name: items for name, items in expected.items() if name not in old})
    page = metrics(free_port)
    assert page["nextclick_clicks_too_old_total",] == len(old) == len(waves[1])
    assert page["nextclick_clicks_redelivered_total",] == 0
    assert page["nextclick_clicks_answered_total",] == page["nextclick_latency_seconds_count",] == len(outcome.answers)
