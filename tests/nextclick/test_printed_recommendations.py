"""How `nextclick recommendations` prints an answer: in JSON as it is on the topic, and as a line for people."""

import json

import msgspec
import pytest

from nextclick.commands.recommendations import _line
from schemas.recommendation import EncodedRecommendation, Recommendation, encode_recommendation


def sent(**more: list[float]) -> bytes:
    return encode_recommendation(
        EncodedRecommendation("0-7", "s", 3, 1_700_000_000_000, [5, 9], [0.4, 0.0123], "v1", "model", **more)
    )


@pytest.mark.parametrize("message", [sent(), sent(neighbours_share=[0.25, 0.0])])
def test_json_is_as_on_the_topic(message: bytes) -> None:
    assert json.loads(Recommendation.model_validate_json(message).model_dump_json()) == msgspec.json.decode(message)


def test_a_line_says_what_the_neighbours_brought_of_each_score_if_the_answer_does() -> None:
    plain, told = (Recommendation.model_validate_json(one) for one in (sent(), sent(neighbours_share=[0.25, 0.0])))
    clicked = "2023-11-14 22:13:20 session s clicked 3"
    assert _line(plain) == f"{clicked} → 5, 9 (model v1)"
    assert (
        _line(told) == f"{clicked} → 5 [25%], 9 [0%] (model v1; in brackets what the neighbours brought of the score)"
    )
