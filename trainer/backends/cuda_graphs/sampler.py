"""The draws of `trainer.objective.negatives`, on the device: a recorded step draws new items at each replay."""

import torch
from torch import Tensor

from trainer.objective.negatives import FIRST, GOLDEN, SECOND, NegativeSampler


class DeviceSampler:
    """Draws the same items as a `NegativeSampler`.

    Args:
        sampler: the sampler to continue.
        device: the device to draw on.

    Attributes:
        drawn: () int64, number of items drawn so far.
    """

    def __init__(self, sampler: NegativeSampler, device: torch.device) -> None:
        self.drawn = torch.tensor(sampler.drawn, device=device)
        self._key = _signed(sampler.key)
        self._keep = torch.from_numpy(sampler.keep).to(device)  # (I,) float64
        self._alias = torch.from_numpy(sampler.alias).to(device)  # (I,)

    def draw(self, count: int) -> Tensor:
        """Draw `count` item rows, (count,) int64."""
        numbers = torch.arange(1, count + 1, device=self.drawn.device) + self.drawn  # (count,)
        word = numbers * _signed(GOLDEN) + self._key  # splitmix64; int64 wraps around as uint64 does
        word = (word ^ _shifted(word, 30)) * _signed(FIRST)
        word = (word ^ _shifted(word, 27)) * _signed(SECOND)
        word = word ^ _shifted(word, 31)
        self.drawn.add_(count)
        place = _shifted(word, 11).double() * (len(self._keep) / 2.0**53)  # (count,), slot plus a fraction in [0, 1)
        slot = place.long()
        return torch.where(place - slot < self._keep[slot], slot, self._alias[slot])


def _signed(word: int) -> int:
    """The int64 with the bits of a uint64."""
    return word - (1 << 64) if word >= 1 << 63 else word


def _shifted(words: Tensor, bits: int) -> Tensor:
    """Shift to the right, as unsigned words."""
    return (words >> bits) & ((1 << 64 - bits) - 1)
