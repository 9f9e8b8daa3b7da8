"""What the backends that train by autograd have in common: sampler, optimiser, the sum of the losses, and the state."""

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from trainer.backends.backend import Network, S, TrainingBackend
from trainer.config import FitConfig
from trainer.objective.losses import loss_of
from trainer.objective.negatives import NegativeSampler
from trainer.objective.optimisers import optimiser_of


class AutogradBackend(TrainingBackend[S]):
    """Trains a network in place; a subclass has the step."""

    def __init__(self, network: Network, support: NDArray[np.int64], config: FitConfig) -> None:
        table = next(network.parameters())
        self.network = network
        self.config = config
        self.device = table.device
        self.sampler = NegativeSampler(support, config.sample_alpha, config.seed)
        self.optimiser = optimiser_of(config)
        self.loss_of = loss_of(config, torch.from_numpy(support).to(self.device, table.dtype))
        self.summed = torch.zeros((), dtype=torch.float64, device=self.device)
        self.events = 0  # of this epoch

    @abstractmethod
    def _step(self, schedule: S, number: int) -> Tensor:
        """Train a step of the schedule; returns its summed loss, a scalar tensor."""

    @override
    def begin_epoch(self) -> None:
        self.summed.zero_()
        self.events = 0

    @override
    def run(self, schedule: S, first: int, last: int) -> None:
        self.events = int(schedule.steps[last])
        for number in range(first, last):
            self.summed += self._step(schedule, number)

    @property
    @override
    def known(self) -> tuple[int, float]:
        return self.events, self.loss

    @property
    @override
    def loss(self) -> float:
        return self.summed.item()

    @override
    def write(self) -> None:
        """Do nothing: the network is trained in place."""

    @property
    @override
    def state(self) -> dict[str, Tensor]:
        kept = {f"optimiser.{name}": tensor for name, tensor in self.optimiser.state.items()}
        kept |= {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return kept | {"drawn": torch.tensor(self.sampler.drawn)} | random_state(self.device)

    @state.setter
    def state(self, state: dict[str, Tensor]) -> None:
        self.network.load_state_dict(part_of(state, "network."))
        optimiser = part_of(state, "optimiser.")
        self.optimiser.state = {name: tensor.to(self.device) for name, tensor in optimiser.items()}
        self.sampler.drawn = int(state["drawn"])
        set_random_state(state, self.device)

    def _tensor(self, values: NDArray[np.int64] | NDArray[np.int32] | NDArray[np.bool_]) -> Tensor:
        wide = values if values.dtype == np.bool_ else values.astype(np.int64)
        return torch.from_numpy(wide).to(self.device)


def part_of(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries of a state whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's random generators, for a checkpoint."""
    state = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Restore `random_state`. A GPU that resumes from a CPU's checkpoint keeps its generator's current state."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def leaf(table: Tensor, rows: Tensor) -> Tensor:
    """Some rows of a table, as a tensor that gradients are computed for."""
    return table.detach().index_select(0, rows).requires_grad_()
