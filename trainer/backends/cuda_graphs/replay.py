"""Runs a step many times, directly or by replaying CUDA graphs of it."""

from collections.abc import Callable

import torch

from schemas.errors import TrainingError

BLOCK = 10
"""Steps of a graph; the remaining steps are replayed one by one."""

WARM_UP = 3
"""Steps that run before the first recording: libraries make their allocations, which a recording must not contain."""


class Replay:
    """Runs a step a given number of times.

    Args:
        step: works in place on tensors of the device that are never reallocated, and never waits for the device.
        device: a GPU for graphs; on another device the step is called directly.

    Attributes:
        stream: the CUDA stream of the steps; None without a GPU. Other work on their tensors must run on it as well.
    """

    def __init__(self, step: Callable[[], None], device: torch.device) -> None:
        self._step = step
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._warm = 0
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def __call__(self, times: int) -> None:
        """Run the step `times` times; on a GPU this returns before they have finished.

        Raises:
            TrainingError: recording failed.
        """
        while times > 0:
            if self.stream is None or self._warm < WARM_UP:
                self._step()
                self._warm += 1
                times -= 1
            else:
                steps = BLOCK if times >= BLOCK else 1
                self._graph(steps).replay()
                times -= steps

    def _graph(self, steps: int) -> torch.cuda.CUDAGraph:
        """The recording of `steps` steps; recording does not run them."""
        if steps not in self._graphs:
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, stream=self.stream):
                    for _ in range(steps):
                        self._step()
            except RuntimeError as error:
                raise TrainingError(
                    f"the training step cannot be recorded on the GPU ({error}): train with --device cpu"
                ) from error
            self._graphs[steps] = graph
        return self._graphs[steps]
