"""A barrier for the threads that share a step's work: they wait for each other between its phases.

The barrier is a shared counter, because Numba has no barrier for threads that it did not start itself.
"""

from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from rankers.compiled import compiled_into_callers
from trainer.backends.compiled_cpu.layout import Team

SPINS = 2000
"""Spins before a waiting thread calls sched_yield(), a few microseconds.

If there are fewer idle cores than threads, a thread that only spins, as OpenMP's do, occupies the core that the thread
it waits for needs.
"""


@compiled_into_callers
def barrier(team: Team) -> None:
    """Wait until every thread of the team has reached this barrier."""
    if team.size == 1:
        return
    team.meetings[0] += 1
    arrive(team.arrived)
    spins = 0
    while arrived(team.arrived) < team.meetings[0] * team.size:
        spins += 1
        if spins > SPINS:
            yield_core()


@intrinsic
def arrive(typing, counter):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Add 1 to `counter[0]` atomically; a thread that reads the new value also sees all earlier writes."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.atomic_rmw("add", pointer, cgutils.intp_t(1), "seq_cst")
        return context.get_dummy_value()

    return types.void(counter), generate


@intrinsic
def arrived(typing, counter):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Read `counter[0]` atomically."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = make_array(signature.args[0])(context, builder, arguments[0]).data
        number = builder.load_atomic(pointer, "seq_cst", 8)
        return impl_ret_untracked(context, builder, signature.return_type, number)

    return types.int64(counter), generate


@intrinsic
def yield_core(typing):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Let the operating system run another thread on this core."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ARG001
        kind = cgutils.ir.FunctionType(cgutils.int32_t, [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate
