"""Training on several processes that `torchrun` started, on one or more machines.

The lanes of the mini-batches are split over the processes. Everything else is the same in all of them: clicks,
schedule, negatives, dropped units and weights. Each process runs the forward and backward pass of its own lanes, the
gradients are summed over the processes, and each process then applies the same update to its copy of the weights. The
result is that of one process with as many lanes, except for the order in which floats are summed.

The leader is the process of rank 0. It alone reads the clicks, writes files and prints.
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

BEGUN = "nextclick/begun"  # all processes have joined
FAILED = "nextclick/failed"  # the error of a process other than the leader
SAID = "nextclick/said"  # the leader has failed and is about to exit
GRACE = timedelta(seconds=10)  # for the leader to print the error; torchrun ends the others once one has exited


@dataclass(frozen=True)
class Process:
    """A process that trains alone. `Member` overrides the methods for several processes.

    Attributes:
        rank: of this process among those that train together, from 0.
        size: how many processes train together.
    """

    rank: int = 0
    size: int = 1

    def device(self, name: str) -> str:
        """The device that this process uses when the user asks for `name`."""
        return name

    def own(self, lanes: NDArray[np.int32], batch_size: int) -> slice:
        """The rows of a step that belong to this process.

        Args:
            lanes: (b,), the live lanes in ascending order.
            batch_size: B; this process has the lanes from B·rank/size to B·(rank+1)/size (exclusive).

        Returns:
            A slice of the b rows; empty if none of its lanes is live.
        """
        borders = [batch_size * rank // self.size for rank in (self.rank, self.rank + 1)]
        begin, end = np.searchsorted(lanes, borders)
        return slice(int(begin), int(end))

    def sum(self, tensors: "Sequence[Tensor]") -> "Sequence[Tensor]":
        """Sum each tensor over all processes. All have one dtype; the call may change them."""
        return tensors

    def on_rank_zero(self, work: Callable[[], T]) -> T:
        """Run `work` on the leader only; every process returns its result, or raises its error."""
        return work()


SINGLE_PROCESS = Process()


@dataclass(frozen=True)
class Member(Process):
    """One of several processes that train together, see `process_group`."""

    @override
    def device(self, name: str) -> str:
        """On a machine with GPUs, each process uses the GPU whose number is its local rank.

        Raises:
            TrainingError: `name` is one GPU, which all processes would share.
        """
        import torch

        if name.startswith("cuda:"):
            raise TrainingError(f"device {name!r} is one GPU for {self.size} processes: choose cuda, and each has one")
        if name == "cpu" or not torch.cuda.is_available():
            return name
        return f"cuda:{os.environ['LOCAL_RANK']}"

    @override
    def sum(self, tensors: "Sequence[Tensor]") -> "Sequence[Tensor]":
        """Sum each tensor over all processes, in one exchange."""
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
    """Join the processes that torchrun started; without torchrun, this process trains alone.

    Only the leader prints. If one process fails, all exit with an error, and the leader prints which one failed.

    Raises:
        TrainingError: another process failed, or torchrun restarted the processes without the setting it needs for it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield SINGLE_PROCESS
        return
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(iter(rendezvous("env://")))
    if store.check([BEGUN]):  # gloo would connect to the processes from before the restart
        raise TrainingError("to restart, torchrun needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    store.set(BEGUN, "")
    try:
        with contextlib.nullcontext() if rank == 0 else _silence():
            yield Member(rank, size)
    except Exception as error:
        if rank == 0:
            atexit.register(store.set, SAID, "")  # at exit the error is already printed
            if not isinstance(error, NextclickError) and store.check([FAILED]):
                raise TrainingError(store.get(FAILED).decode()) from error
            raise
        store.set(FAILED, f"process {rank} of {size} failed: {error}")
        distributed.destroy_process_group()  # otherwise the leader waits for this process
        with contextlib.suppress(RuntimeError):  # timeout, or the store is gone
            store.wait([SAID], GRACE)
            sys.exit(1)
        raise  # the leader has not reported it
    distributed.destroy_process_group()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield
