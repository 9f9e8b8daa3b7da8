"""Live figures: every click is the label of the answer before it."""

import pytest

from schemas.evidence import GROUPS, group_of
from worker.live_metrics import LiveEvaluation, ShadowComparison
from worker.recommender import Label, PairedLabel


def duel(key: bytes, mine: int, its: int, champion: str = "v1", shadow: str = "v2") -> PairedLabel:
    return PairedLabel(key, Label(champion, "model", mine), Label(shadow, "model", its))


def test_recall_and_mrr_are_means_over_the_labels_of_a_model_and_source() -> None:
    live = LiveEvaluation()
    live.add([Label("v1", "model", rank) for rank in (1, 4, 0, 5)] + [Label("v1", "popular", 2)])
    live.add([Label("v1", "popular", 0)])
    by_model, popular = live.result()["v1", "model"], live.result()["v1", "popular"]
    assert (by_model.labels, by_model.recall) == (4, 0.75)
    assert by_model.mrr == pytest.approx((1 + 1 / 4 + 1 / 5) / 4)
    assert (popular.recall, popular.mrr) == (0.5, 0.25)
    never = live.result()["v2", "model"]  # type: ignore[index]
    assert (never.recall, never.mrr) == (0, 0)


def test_evidence_counts_both_models_on_the_same_clicks_by_groups_of_sessions() -> None:
    comparison = ShadowComparison()
    assert comparison.evidence("m") is None
    comparison.add([duel(b"a", 1, 0), duel(b"a", 0, 4), duel(b"b", 2, 2)])
    evidence = comparison.evidence("m")
    assert evidence is not None
    a, b = group_of(b"a"), group_of(b"b")
    assert a != b
    assert (len(evidence.events), sum(evidence.events), evidence.events[a], evidence.events[b]) == (GROUPS, 3, 2, 1)
    assert (evidence.champion_hits[a], evidence.champion_hits[b], sum(evidence.champion_hits)) == (1, 1, 2)
    assert (evidence.shadow_hits[a], evidence.shadow_hits[b], sum(evidence.shadow_hits)) == (1, 1, 2)
    assert (evidence.champion_reciprocal_ranks, evidence.shadow_reciprocal_ranks) == (1.5, 0.75)
    assert len(evidence.worker) == 12
    assert evidence.worker != ShadowComparison().worker


def test_another_pair_of_models_begins_anew() -> None:
    comparison = ShadowComparison()
    comparison.add([duel(b"a", 1, 1), duel(b"a", 1, 1, shadow="v3")])
    evidence = comparison.evidence("m")
    assert evidence is not None
    assert (evidence.shadow, sum(evidence.events), sum(evidence.champion_hits)) == ("v3", 1, 1)
    comparison.begin()
    began = comparison.evidence("m")
    assert began is not None
    assert sum(began.events) == 0
    comparison.add([duel(b"a", 1, 1, shadow="v1")])
    assert comparison.evidence("m") is None  # a model beside itself
