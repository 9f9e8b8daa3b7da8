import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.objective.negatives import NegativeSampler


@given(
    support=st.lists(st.integers(1, 10**9), min_size=1, max_size=200),
    alpha=st.sampled_from([0.0, 0.5, 0.75, 1.0]),
)
def test_the_alias_table_holds_exactly_the_wanted_probabilities(support: list[int], alpha: float) -> None:
    sampler = NegativeSampler(np.array(support), alpha, seed=0)
    weights = np.array(support, dtype=np.float64) ** alpha
    drawn = sampler.keep.copy()
    np.add.at(drawn, sampler.alias, 1 - sampler.keep)
    np.testing.assert_allclose(drawn / len(support), weights / weights.sum(), rtol=1e-6, atol=1e-12)


def test_draws_follow_popularity_and_the_seed() -> None:
    support = np.array([1, 10, 100, 1000])
    drawn = NegativeSampler(support, 0.5, seed=3).draw(200_000)
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, support**0.5 / (support**0.5).sum(), atol=0.005)
    assert drawn.dtype == np.int64
    assert (NegativeSampler(support, 0.5, seed=3).draw(200_000) == drawn).all()
    assert (NegativeSampler(support, 0.5, seed=4).draw(200_000) != drawn).any()


def test_rare_items_beside_very_popular_ones_are_not_starved() -> None:
    support = np.concatenate([[10**9], np.ones(100_000, dtype=np.int64)])
    share = NegativeSampler(support, 0.5, seed=0).probability[1:].sum()
    drawn = NegativeSampler(support, 0.5, seed=0).draw(100_000)
    assert np.count_nonzero(drawn) / len(drawn) == pytest.approx(share, abs=0.01)
