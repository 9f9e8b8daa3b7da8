"""Training on several processes, on one machine or more, that `torchrun` started.

The lanes of the mini-batches are split over the processes; everything else is the same in all of them: clicks,
schedule, negatives, dropped units and weights. A process takes its own lanes forward and back, the gradients are
summed over the processes, and each then updates its copy of the weights by the same step. So the result is that of one
process with as many lanes, but for the order in which floats are summed.

The leader, the process of rank 0, reads, writes and speaks for all.
"""

import atexit
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from schemas.errors import NextclickError, TrainingError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

BEGUN = "nextclick/begun"  # all have joined
FAILED = "nextclick/failed"  # what a process other than the leader failed with
SAID = "nextclick/said"  # the leader has failed and is about to exit
GRACE = timedelta(seconds=10)  # for the leader to say why; torchrun ends all others once one has exited


@dataclass(frozen=True)
class Process:
    """A process that trains by itself, and what `Member` overrides.

    Attributes:
        rank: among those that train together, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def device(self, name: str) -> str:
        """The device that this process uses where `name` was asked for."""
        return name

    def own(self, lanes: NDArray[np.int32], batch_size: int) -> slice:
        """Which rows of a step are this process's.

        Args:
            lanes: (b,), the live lanes in ascending order.
            batch_size: B; lanes from B·rank/size on are this process's, up to those of the next.

        Returns:
            Within b; empty where none of its lanes is live.
        """
        borders = [batch_size * rank // self.size for rank in (self.rank, self.rank + 1)]
        begin, end = np.searchsorted(lanes, borders)
        return slice(int(begin), int(end))

    def sum(self, tensors: "Sequence[Tensor]") -> "Sequence[Tensor]":
        """Tensors of one type, each summed over all processes. They may be changed by it."""
        return tensors

    def on_rank_zero(self, work: Callable[[], T]) -> T:
        """Have the leader alone do something; its result, or its error, is everybody's."""
        return work()


SINGLE_PROCESS = Process()


@dataclass(frozen=True)
class Member(Process):
    """One of several processes: see `process_group`."""

    @override
    def device(self, name: str) -> str:
        """Each process has the GPU of its number on its machine.

        Raises:
            TrainingError: it is a single GPU for all.
        """
        import torch

        if name.startswith("cuda:"):
            raise TrainingError(f"device {name!r} is one GPU for {self.size} processes: choose cuda, and each has one")
        if name == "cpu" or not torch.cuda.is_available():
            return name
        return f"cuda:{os.environ['LOCAL_RANK']}"

    @override
    def sum(self, tensors: "Sequence[Tensor]") -> "Sequence[Tensor]":
        """Sum in one exchange."""
        import torch
        from torch import distributed

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    @override
    def on_rank_zero(self, work: Callable[[], T]) -> T:
        import torch
        from torch import distributed

        outcome: list[Any] = [None, None]  # result and error
        if self.rank == 0:
            try:
                outcome[0] = work()
            except NextclickError as error:
                outcome[1] = error
        distributed.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
        result, failure = outcome
        if failure is not None:
            raise failure
        return result  # type: ignore[no-any-return]


@contextlib.contextmanager
def process_group() -> Iterator[Process]:
    """Train together with the processes that torchrun started; alone where it did not start this one.

    All but the leader are silent. Where one fails, all exit with an error, and the leader says which.

    Raises:
        TrainingError: another process failed, or torchrun began anew in a way that cannot work.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield SINGLE_PROCESS
        return
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(iter(rendezvous("env://")))
    if store.check([BEGUN]):  # gloo would look for the processes of before
        raise TrainingError("to restart, torchrun needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    store.set(BEGUN, "")
    try:
        with contextlib.nullcontext() if rank == 0 else _silence():
            yield Member(rank, size)
    except Exception as error:
        if rank == 0:
            atexit.register(store.set, SAID, "")  # by then it is on the screen
            if not isinstance(error, NextclickError) and store.check([FAILED]):
                raise TrainingError(store.get(FAILED).decode()) from error
            raise
        store.set(FAILED, f"process {rank} of {size} failed: {error}")
        distributed.destroy_process_group()  # or the leader would wait for it
        with contextlib.suppress(RuntimeError):  # the time is up, or the store is gone
            store.wait([SAID], GRACE)
            sys.exit(1)
        raise  # nobody has heard of it
    distributed.destroy_process_group()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield
