"""The answer to a click, and the comparison of the next click with it.

Programs write an id as a number or as a text (`schemas.click.canonical_id`). The items of an answer are sent as texts
if the clicked item came as a text, else as numbers where the id is one. A state keeps them in one form, so that the
next click is found among them in whichever form it comes.
"""

import msgspec

from schemas.click import ItemId
from schemas.recommendation import Source


class Answer(msgspec.Struct, gc=False):
    """The recommendation after one click: up to 20 items, best first.

    Attributes:
        items: in the form in which they are sent.
        scores: one per item.
        model_version: of the model that answered; None before the first model.
        source: see `Recommendation.source`.
        top: the items in the form of `canonical_id`.
        neighbours_share: see `Recommendation.neighbours_share`.
    """

    items: list[ItemId]
    scores: list[float]
    model_version: str | None
    source: Source
    top: list[ItemId]
    neighbours_share: list[float] | msgspec.UnsetType = msgspec.UNSET


def popular_answers(top: list[ItemId], scores: list[float], version: str | None) -> tuple[Answer, Answer]:
    """The answer with popular items to a click whose item came as a number, and to one whose item came as a text."""
    texts: list[ItemId] = [str(item) for item in top]
    return Answer(top, scores, version, "popular", top), Answer(texts, scores, version, "popular", top)


def rank_of(item: ItemId, top: list[ItemId], source: str) -> int:
    """The place of a clicked item in the answer before it, from 1; 0 if it was not recommended.

    Args:
        item: in the form of `canonical_id`.
        top: the recommended items, at least one, in the same form. Workers up to 0.2 stored them as they were sent:
            those of a model all in one form, popular ones in both.
        source: where `top` came from.
    """
    if item in top:
        return top.index(item) + 1
    if type(item) is int and (type(top[0]) is str or source == "popular"):
        text = str(item)
        return top.index(text) + 1 if text in top else 0
    return 0
