import json

import pytest

from schemas.click import Click, decode_click
from schemas.click_times import on_topic


def message(timestamp: object) -> bytes:
    return json.dumps({"session_id": 1, "item_id": 2, "timestamp": timestamp}).encode()


@pytest.mark.parametrize(
    ("sent", "understood"),
    [
        (1_396_873_412, 1_396_873_412_000),
        (1_000_000_000, 1_000_000_000_000),
        (9_999_999_999, 9_999_999_999_000),
        (999_999_999, 999_999_999),
        (10_000_000_000, 10_000_000_000),
        (1_396_873_412_345, 1_396_873_412_345),
        (0, 0),
    ],
)
def test_a_number_of_seconds_is_no_time_in_1970(sent: int, understood: int) -> None:
    assert decode_click(b"1", message(sent)).timestamp == understood
    assert Click.model_validate_json(message(sent)).timestamp == understood


@pytest.mark.parametrize("timestamp", [0, 999_999_999, 1_000_000_000, 5_000_000_123, 9_999_999_999, 1_700_000_000_000])
def test_what_produce_sends_is_what_the_file_says(timestamp: int) -> None:
    assert decode_click(b"1", message(on_topic(timestamp))).timestamp == timestamp
