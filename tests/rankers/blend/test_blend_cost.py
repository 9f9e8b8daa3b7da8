"""What a blend computes: no table of its network twice, and no copy of its weights."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rankers.contract import Memory
from rankers.scoring.output_layer import OutputLayer
from rankers.scoring.scorers import BlockScorer
from tests.rankers.blend.made_blends import ITEMS, KNOWN, clicks_of, made, ranker_of, sessions


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
@pytest.mark.parametrize("scoring", ["exact", "int8"])
def test_the_tables_of_a_scorer_are_made_once(capability: str, scoring: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    made_scorers: list[str] = []
    whole = BlockScorer.__init__

    def noted(self: BlockScorer, *arguments: torch.Tensor) -> None:
        made_scorers.append(type(self).__name__)
        whole(self, *arguments)

    monkeypatch.setattr(BlockScorer, "__init__", noted)
    for family in ("gru4rec", "sasrec"):
        made_scorers.clear()
        ranker = ranker_of(made(family=family), scoring)
        ranker.warm_up(64)
        ranker.network.output.scorer_with_sums()
        assert made_scorers == ["QuantisedScorer"]


@pytest.mark.parametrize("known", [KNOWN, ITEMS])
def test_the_scores_of_all_items_copy_no_weights(known: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[bool] = []
    whole = OutputLayer.scores

    def noted(self: OutputLayer, queries: torch.Tensor, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
        chosen.append(rows is not None)
        return whole(self, queries, rows)

    monkeypatch.setattr(OutputLayer, "scores", noted)
    ranker, rows = ranker_of(made(known=known)), sessions()
    queries = ranker.advance(clicks_of(rows), Memory.empty(len(rows), ranker.needs)).queries
    of_all = ranker.scores(queries)
    assert chosen == [False]
    np.testing.assert_allclose(of_all, ranker.scores(queries, np.arange(ITEMS)), rtol=1e-6)
