"""exp, sigmoid and tanh of vectors."""

import math

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from charlstm.kernels.jit import inline_jitable
from charlstm.kernels.simd import CONTRACT, LANES, limited


@intrinsic
def _exponential_parts(typing_context, x):
    """Return q and s with exp(x) = s * q + s; 0 below -limit, exp(limit) above limit.

    x = n ln 2 + r, s = 2**n, q = exp(r) - 1 from its series, |r| <= ln(2)/2. Adding
    1.5 * 2**(mantissa bits) rounds x / ln 2 to n in the low bits of the sum; shifted up
    into the exponent field those bits are 2**n (Cody and Waite's reduction, ln 2 in two
    parts). NaN stays NaN in q.
    """
    single = x.dtype == types.float32
    limit, magic, degree = (43.0, 12582912.0, 7) if single else (350.0, 6755399441055744.0, 13)
    high = 0.693359375 if single else 6.93147180369123816490e-01
    low = -2.12194440e-4 if single else 1.90821492927058770002e-10
    mantissa, bias, bits = (23, 127, 32) if single else (52, 1023, 64)

    def emit(context, builder, signature, args):
        (x,) = args
        integer = ir.VectorType(ir.IntType(bits), LANES)

        def constant(value, kind=x.type):
            return ir.Constant(kind, [value] * LANES)

        def multiply_add(a, b, c):
            return builder.fadd(builder.fmul(a, b, flags=CONTRACT), c, flags=CONTRACT)

        vanishes = builder.fcmp_ordered("<", x, constant(-limit))
        x = limited(builder, x, constant(-limit), constant(limit))
        shifted = multiply_add(x, constant(1 / math.log(2)), constant(magic))
        n = builder.fsub(shifted, constant(magic))
        r = multiply_add(n, constant(-low), multiply_add(n, constant(-high), x))
        series = constant(1 / math.factorial(degree))
        for k in range(degree - 1, 1, -1):
            series = multiply_add(series, r, constant(1 / math.factorial(k)))
        q = multiply_add(builder.fmul(series, r), r, r)
        exponent = builder.shl(builder.bitcast(shifted, integer), constant(mantissa, integer))
        one = constant(bias << mantissa, integer)
        s = builder.bitcast(builder.add(exponent, one), x.type)
        s = builder.select(vanishes, constant(0.0), s)
        return context.make_tuple(builder, signature.return_type, (q, s))

    return types.UniTuple(x, 2)(x), emit


@inline_jitable
def exp(x):
    """Return exp(x), at most 2 ulp off, for |x| <= 43 (float32) or 350 (float64).

    Smaller x give exactly 0, larger x the value at the limit.
    """
    q, s = _exponential_parts(x)
    return s * q + s


@inline_jitable
def sigmoids(x, y):
    """Return 1 / (1 + exp(-x)) and the same of y, with one division between them.

    At most 4 ulp off within the limits of `exp`; beyond them saturated, to within 3e-19
    of the true value.
    """
    p, s = _exponential_parts(-x)
    q, t = _exponential_parts(-y)
    a, b = s * p + (s + 1.0), t * q + (t + 1.0)
    inverse = 1.0 / (a * b)
    return b * inverse, a * inverse


@inline_jitable
def tanh_and_sigmoid(x, y):
    """Return m / (m + 2) with m = exp(2x) - 1, and 1 / (1 + exp(-y)), with one division.

    At most 5 and 4 ulp off within the limits of `exp`; beyond them saturated.
    """
    p, s = _exponential_parts(x + x)
    q, t = _exponential_parts(-y)
    m = s * p + (s - 1.0)
    a, b = m + 2.0, t * q + (t + 1.0)
    inverse = 1.0 / (a * b)
    return m * b * inverse, a * inverse


@inline_jitable
def tanh(x):
    """Return tanh(x) = m / (m + 2) with m = exp(2x) - 1, at most 4 ulp off."""
    q, s = _exponential_parts(x + x)
    m = s * q + (s - 1.0)
    return m / (m + 2.0)
