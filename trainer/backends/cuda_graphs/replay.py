"""Running a step many times: one after the other, or by replaying CUDA graphs of it."""

from collections.abc import Callable

import torch

from schemas.errors import TrainingError

BLOCK = 10
"""Steps of a graph; those that are left over are replayed singly."""

WARM_UP = 3
"""Steps that run before the first recording, in which libraries allocate what must not be allocated within one."""


class Replay:
    """Runs a step so many times.

    Args:
        step: works in place on tensors of the device that stay where they are, and never waits for the device.
        device: a GPU for graphs; elsewhere the step is simply called.

    Attributes:
        stream: what the steps run on; None without a GPU. Whatever else touches their tensors must run on it as well.
    """

    def __init__(self, step: Callable[[], None], device: torch.device) -> None:
        self._step = step
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._warm = 0
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def __call__(self, times: int) -> None:
        """Run the step `times` times; on a GPU they are under way when this returns.

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
        """The recording of so many steps; recording does not run them."""
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
