"""CUDA graphs: a function of tensors is recorded once per batch size and replayed by one launch.

A forward step of a small network is dozens of short kernels; launching each one costs more time than running it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Calls before the recording: libraries allocate memory in their first calls, which a recording does not allow."""


class CudaGraphs:
    """Calls a function by replaying its recordings; a batch runs in the next larger recorded size.

    The next call overwrites the returned tensors: use them, on the same stream, before it.

    Args:
        function: takes and returns tensors whose first dimension is the batch. Rows must be independent of each other,
            and the function must not synchronise with the device.
        examples: one valid tensor per argument; the recording uses its first row, device and dtype.
        sizes: batch sizes to record. A batch larger than all of them is computed without a graph.
    """

    def __init__(
        self, function: Callable[..., tuple[Tensor, ...]], examples: Sequence[Tensor], sizes: Sequence[int]
    ) -> None:
        self._function = function
        pool = torch.cuda.graph_pool_handle()
        self._recordings = [self._record(examples, size, pool) for size in sorted(sizes)]

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """The function's results for a batch."""
        rows = arguments[0].shape[0]
        for size, inputs, graph, outputs in self._recordings:
            if rows <= size:
                for place, given in zip(inputs, arguments, strict=True):
                    place[:rows].copy_(given, non_blocking=True)
                graph.replay()
                return tuple(output[:rows] for output in outputs)
        return self._function(*arguments)

    def _record(
        self, examples: Sequence[Tensor], size: int, pool: Any
    ) -> tuple[int, list[Tensor], torch.cuda.CUDAGraph, tuple[Tensor, ...]]:
        inputs = [example[:1].expand(size, *example.shape[1:]).contiguous() for example in examples]
        device = inputs[0].device
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self._function(*inputs)
        torch.cuda.current_stream(device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # thread_local: another model may serve in another thread at the same time
        with torch.cuda.graph(graph, pool=pool, stream=aside, capture_error_mode="thread_local"):
            outputs = self._function(*inputs)
        return size, inputs, graph, outputs
