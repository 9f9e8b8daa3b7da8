"""CUDA graphs: a function of tensors, recorded once for each of a few batch sizes and replayed by one launch.

A forward step of a small network is some dozens of short kernels, and launching each costs more than its work.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Calls before the recording, in which libraries allocate what must not be allocated within one."""


class CudaGraphs:
    """Calls a function by replaying its recordings; a batch is filled up to the next recorded size.

    What a call returns is overwritten by the next one: use it, on the same stream, before that.

    Args:
        function: of tensors whose first dimension is the batch, to a tuple of such; rows independent of each other, and
            no synchronisation inside.
        examples: an argument each: device, dtype and the shape of a row count, and its values must be valid ones.
        sizes: batch sizes to record. A batch that is larger than all of them is computed without a graph.
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
        # thread_local: another model may be serving in another thread meanwhile
        with torch.cuda.graph(graph, pool=pool, stream=aside, capture_error_mode="thread_local"):
            outputs = self._function(*inputs)
        return size, inputs, graph, outputs
