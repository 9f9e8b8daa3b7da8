"""The ranker with CUDA graphs; tests/rankers/test_family_contract.py has what it must do on every device."""

import numpy as np
import pytest
import torch

from clicklog.items import ItemIndex
from rankers.gru4rec.network import GRU4Rec
from rankers.gru4rec.ranker import GRU4RecRanker
from rankers.recurrent import NetworkConfig

ITEMS = 300


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("batch", [1, 31, 32, 33, 100, 128, 150])
def test_recorded_graphs_answer_as_the_network_does(batch: int) -> None:
    torch.manual_seed(0)
    network = GRU4Rec(NetworkConfig(items=ITEMS, hidden=32)).eval().requires_grad_(False)
    items = ItemIndex(list(range(ITEMS)), np.ones(ITEMS, dtype=np.int64))
    plain, recorded = (GRU4RecRanker(network, items, torch.device("cuda")) for _ in range(2))
    recorded.warm_up(128)
    clicked = torch.arange(batch, device="cuda") % ITEMS
    state = torch.rand(batch, 1, 32, device="cuda")
    expected, found = plain.step(clicked, state), recorded.step(clicked, state).clone()
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(recorded.best(found[:, -1], 20), plain.best(expected[:, -1], 20), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_a_recorded_search_can_be_given_queries_outside_of_inference_mode() -> None:
    """The graph's input is made while recording, in inference mode, and torch refuses to write to it outside."""
    network = GRU4Rec(NetworkConfig(items=ITEMS, hidden=32)).eval().requires_grad_(False)
    items = ItemIndex(list(range(ITEMS)), np.ones(ITEMS, dtype=np.int64))
    ranker = GRU4RecRanker(network, items, torch.device("cpu"))
    queries = torch.rand(4, 32)
    expected = ranker.best(queries, 20)
    with torch.inference_mode():
        static_input = torch.zeros(4, 32)

    def replay(given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        static_input.copy_(given)
        found = ranker.output.scorer.best(static_input, 20)
        return tuple(map(torch.from_numpy, found))

    ranker._searches = replay  # type: ignore[assignment]
    np.testing.assert_array_equal(ranker.best(queries, 20).rows, expected.rows)
