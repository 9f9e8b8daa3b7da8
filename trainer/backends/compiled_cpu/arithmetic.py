"""Scalar functions, written so that the compiler can vectorise loops over them."""

import math

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from rankers.compiled import compiled_into_callers
from trainer.objective.negatives import FIRST, GOLDEN, SECOND

ZERO = np.float32(0)
ONE = np.float32(1)
TWO = np.float32(2)

_LOWEST, _HIGHEST = np.float32(-87), np.float32(88)  # outside this range e^x is not a normal float32
_LOG2E = np.float32(math.log2(math.e))
_LN2_HIGH = np.float32(0.693359375)  # ln 2 in 11 bits, so that products with integers are exact
_LN2_LOW = np.float32(math.log(2) - 0.693359375)  # ln 2 − _LN2_HIGH
_E2, _E3, _E4, _E5, _E6, _E7 = (np.float32(1 / math.factorial(n)) for n in range(2, 8))
_L3, _L5, _L7, _L9, _L11, _L13 = (np.float32(1 / n) for n in (3, 5, 7, 9, 11, 13))
_STEP = np.uint64(GOLDEN)
_FIRST, _SECOND = np.uint64(FIRST), np.uint64(SECOND)
_DOUBLE = 1 / 2.0**53
_SINGLE = np.float32(1 / 2.0**24)


@intrinsic
def float_of_bits(typing, bits):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """The float32 with the bits of an int32."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        number = builder.bitcast(arguments[0], context.get_value_type(types.float32))
        return impl_ret_untracked(context, builder, signature.return_type, number)

    return types.float32(types.int32), generate


@intrinsic
def prefetch(typing, rows, row, offset):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Prefetch the cache line at byte `offset` of `rows[row]`, for reading and writing."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = make_array(signature.args[0])(context, builder, arguments[0])
        stride = cgutils.unpack_tuple(builder, array.strides)[0]
        place = builder.add(builder.mul(arguments[1], stride), arguments[2])
        pointer = cgutils.pointer_add(builder, array.data, place)
        byte = cgutils.voidptr_t
        flag = cgutils.int32_t
        kind = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [byte, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        for_write, keep, data = 1, 3, 1
        builder.call(function, [builder.bitcast(pointer, byte), flag(for_write), flag(keep), flag(data)])
        return context.get_dummy_value()

    return types.void(rows, types.intp, types.intp), generate


@compiled_into_callers
def exp(x: np.float32) -> np.float32:
    """e^x to 2 units in the last place: 2^n · e^f with integer n and |f| ≤ ln 2 / 2, e^f by its series."""
    x = min(max(x, _LOWEST), _HIGHEST)
    exponent = np.int32(x * _LOG2E + np.float32(127.5))  # n + 127, as a float32 stores it
    n = np.float32(exponent - np.int32(127))
    f = x - n * _LN2_HIGH - n * _LN2_LOW
    series = ONE + f * (ONE + f * (_E2 + f * (_E3 + f * (_E4 + f * (_E5 + f * (_E6 + f * _E7))))))
    return series * float_of_bits(np.int32(exponent << np.int32(23)))  # type: ignore[no-any-return]


@compiled_into_callers
def sigmoid(x: np.float32) -> np.float32:
    """1 / (1 + e^−x)."""
    return ONE / (ONE + exp(-x))


@compiled_into_callers
def tanh(x: np.float32) -> np.float32:
    """The hyperbolic tangent."""
    e = exp(-TWO * x)
    return (ONE - e) / (ONE + e)


@compiled_into_callers
def softplus(x: np.float32) -> np.float32:
    """log(1 + e^x), by log(1 + y) = 2 artanh(y / (2 + y)) and its series."""
    y = exp(-abs(x))
    u = y / (TWO + y)
    q = u * u  # ≤ 1/9
    series = ONE + q * (_L3 + q * (_L5 + q * (_L7 + q * (_L9 + q * (_L11 + q * _L13)))))
    return max(x, ZERO) + TWO * u * series


@compiled_into_callers
def random_word(key: np.uint64, number: int) -> np.uint64:
    """One number of `trainer.objective.negatives.random_words`."""
    word = key + np.uint64(number + 1) * _STEP
    word = (word ^ (word >> np.uint64(30))) * _FIRST
    word = (word ^ (word >> np.uint64(27))) * _SECOND
    return word ^ (word >> np.uint64(31))


@compiled_into_callers
def uniform_double(word: np.uint64) -> float:
    """A float64 in [0, 1) from the upper 53 bits."""
    return np.float64(np.int64(word >> np.uint64(11))) * _DOUBLE


@compiled_into_callers
def uniform_single(word: np.uint64) -> np.float32:
    """A float32 in [0, 1) from the upper 24 bits."""
    return np.float32(np.int32(word >> np.uint64(40))) * _SINGLE
