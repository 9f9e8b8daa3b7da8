"""The plan of docs/sizing.md follows from the measured costs."""

import re

import pytest

from benchmarks.recovery import Recovered, Start
from benchmarks.sizing_plan import Costs, Load, plan


def recovered(sessions: int, seconds: float) -> Recovered:
    return Recovered(
        sessions, [Start(seconds, seconds, 900.0)], store_bytes=500 * sessions, changelog_bytes=600 * sessions
    )


COSTS = Costs.of(
    [(1_000, 30.0, 900.0), (11_000, 40.0, 1_000.0), (21_000, 60.0, 1_100.0)],
    {"clicks": 80.0, "recommendations": 500.0, "changelog": 200.0},
    [recovered(100_000, 6.0), recovered(1_100_000, 16.0)],
)


def needs(load: Load) -> dict[str, str]:
    return dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", plan(load, COSTS), re.MULTILINE))


@pytest.mark.parametrize(("items", "cpu"), [(1_000, 30), (6_000, 35), (21_000, 60), (31_000, 80), (500, 30)])
def test_a_cost_is_on_the_line_between_two_catalogues_or_through_the_last_two(items: int, cpu: float) -> None:
    assert COSTS.at(COSTS.cpu_us_per_click, items) == pytest.approx(cpu)


def test_a_start_is_told_apart_from_the_recovery_of_the_sessions() -> None:
    assert COSTS.start_seconds == pytest.approx(5.0)
    assert COSTS.sessions_per_second == pytest.approx(100_000)


def test_the_plan_of_a_shop() -> None:
    found = needs(Load(clicks_per_second=60_000, items=21_000, sessions=6_000_000))
    assert found == {
        "CPU per click": "60 µs",
        "workers": "6",  # 60,000 clicks of 60 µs are 3.6 cores; 60 % of six are as much
        "partitions": "6",
        "memory of a worker": "1.1 GB",
        "disk of a worker": "1.00 GB",  # a million sessions of 500 bytes, twice
        "recovery onto an empty disk": "15 s",
        "written to Kafka": "71 MB/s",  # 80 and 500 bytes, and a state of 600 for each click
        "changelog": "22 GB",
        "clicks topic": "1,244 GB a day",
    }


def test_a_small_shop_has_two_workers() -> None:
    assert needs(Load(clicks_per_second=10, items=1_000, sessions=1_000))["workers"] == "2"
