import numpy as np
import pytest
import torch

from trainer.backends.cuda_graphs.sampler import DeviceSampler
from trainer.objective.negatives import NegativeSampler


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2**63 + 5])
def test_it_draws_what_the_host_draws(alpha: float, seed: int) -> None:
    support = np.random.default_rng(0).integers(1, 1000, 500)
    host = NegativeSampler(support, alpha, seed)
    device = DeviceSampler(host, torch.device("cpu"))
    for count in (0, 1, 2048, 20_000):
        assert device.draw(count).tolist() == host.draw(count).tolist()
    assert device.drawn == host.drawn
