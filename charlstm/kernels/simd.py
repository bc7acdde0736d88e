"""A 16-lane vector type for kernels: load, store and arithmetic.

Numba has scalars only and leaves vectorising to LLVM's heuristics, which give up on
loops with several arrays in them. A `Vector` is explicit: the gates of 16 units are one
value, and `f * c + i * g` reads as the equation does. LLVM splits it into as many
machine registers as the host needs (one for float32 with AVX-512, four with SSE2), so
lane by lane every machine computes the same operations in the same order. Numbers mixed
with vectors take the vector's dtype: `1.0 - o` is float32 arithmetic where `o` is.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils, typing
from numba.core.datamodel import models, register_default
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, lower_cast

LANES = 16
CONTRACT = ("contract",)


class Vector(types.Type):
    """LANES numbers of one floating-point type, held in registers."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_default(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        scalar = dmm.lookup(fe_type.dtype).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(scalar, LANES))


def broadcast(builder, scalar):
    """Emit a vector whose lanes all hold `scalar`."""
    vector = ir.VectorType(scalar.type, LANES)
    index = ir.VectorType(ir.IntType(32), LANES)
    first = builder.insert_element(
        ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
    )
    return builder.shuffle_vector(
        first, ir.Constant(vector, ir.Undefined), ir.Constant(index, [0] * LANES)
    )


def element_pointer(context, builder, array_type, array, offset):
    """Emit the address of the flat element `offset` of a C-contiguous array."""
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def load_vector(builder, pointer):
    """Emit a load of LANES elements, aligned to an element only."""
    vector = ir.VectorType(pointer.type.pointee, LANES)
    size = 8 if pointer.type.pointee == ir.DoubleType() else 4
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=size)


def store_vector(builder, value, pointer):
    """Emit a store of LANES elements, aligned to an element only."""
    size = 8 if pointer.type.pointee == ir.DoubleType() else 4
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=size)


@lower_cast(types.Number, Vector)
def _cast_number(context, builder, from_type, to_type, value):
    return broadcast(builder, context.cast(builder, value, from_type, to_type.dtype))


def _define_operator(function, arity, emit):
    @infer_global(function)
    class _Template(AbstractTemplate):
        def generic(self, args, kws):
            vectors = [t for t in args if isinstance(t, Vector)]
            if len(args) == arity and vectors:
                return typing.signature(vectors[0], *[vectors[0]] * arity)
            return None

    @lower_builtin(function, *[Vector] * arity)
    def _lower(context, builder, signature, args):
        return emit(builder, *args)


_define_operator(operator.add, 2, lambda b, x, y: b.fadd(x, y, flags=CONTRACT))
_define_operator(operator.sub, 2, lambda b, x, y: b.fsub(x, y, flags=CONTRACT))
_define_operator(operator.mul, 2, lambda b, x, y: b.fmul(x, y, flags=CONTRACT))
_define_operator(operator.truediv, 2, lambda b, x, y: b.fdiv(x, y, flags=CONTRACT))
_define_operator(operator.neg, 1, lambda b, x: b.fneg(x))


@intrinsic
def load(typing_context, array, offset):
    """Return the LANES elements of a C-contiguous array from the flat `offset` on."""

    def emit(context, builder, signature, args):
        return load_vector(
            builder, element_pointer(context, builder, signature.args[0], args[0], args[1])
        )

    return Vector(array.dtype)(array, types.intp), emit


@intrinsic
def store(typing_context, array, offset, value):
    """Write the LANES elements of `value` to a C-contiguous array from `offset` on."""

    def emit(context, builder, signature, args):
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1])
        store_vector(builder, args[2], pointer)
        return context.get_dummy_value()

    return types.void(array, types.intp, Vector(array.dtype)), emit


def prefetch(builder, pointer):
    """Emit a request for the cache line at `pointer`; any address is safe."""
    byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, first_cache, data = word(0), word(3), word(1)
    builder.call(function, [builder.bitcast(pointer, byte), read, first_cache, data])


def load_transposed(builder, source, row):
    """Emit the columns, as vectors, of a block of LANES x LANES elements; `row` is its stride."""
    count = ir.IntType(64)
    rows = [
        load_vector(builder, builder.gep(source, [builder.mul(row, count(i))]))
        for i in range(LANES)
    ]
    half = LANES // 2
    low = [k for i in range(half) for k in (i, LANES + i)]
    masks = [
        ir.Constant(ir.VectorType(ir.IntType(32), LANES), [k + start for k in low])
        for start in (0, half)
    ]
    for _ in range(LANES.bit_length() - 1):  # interleave halves: log2(LANES) riffles
        rows = [
            builder.shuffle_vector(rows[i], rows[i + half], mask)
            for i in range(half)
            for mask in masks
        ]
    return rows


@intrinsic
def splat(typing_context, array, value):
    """Return a vector of the array's dtype whose lanes all hold the number `value`."""

    def emit(context, builder, signature, args):
        return broadcast(builder, args[1])

    return Vector(array.dtype)(array, array.dtype), emit


def limited(builder, x, low, high):
    """Emit `x` limited to [low, high] lane by lane; NaN stays NaN."""
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    return builder.select(builder.fcmp_ordered(">", x, high), high, x)


@intrinsic
def clamp(typing_context, x, low, high):
    """Return `x` limited to [low, high] lane by lane; NaN stays NaN."""
    return x(x, x, x), lambda context, builder, signature, args: limited(builder, *args)


@intrinsic
def maximum(typing_context, x, y):
    """Return the larger of two vectors lane by lane; a NaN in `y` stays."""

    def emit(context, builder, signature, args):
        x, y = args
        return builder.select(builder.fcmp_ordered(">", x, y), x, y)

    return x(x, x), emit


@intrinsic
def replace_lanes(typing_context, x, first, value):
    """Return `x` with the lanes from number `first` on set to `value`."""

    def emit(context, builder, signature, args):
        x, first, value = args
        word = ir.IntType(32)
        lanes = ir.Constant(ir.VectorType(word, LANES), list(range(LANES)))
        first = broadcast(builder, builder.trunc(first, word))
        return builder.select(builder.icmp_signed("<", lanes, first), x, value)

    return x(x, types.intp, x), emit


@intrinsic
def square_root(typing_context, x):
    """Return the correctly rounded square root of each lane."""

    def emit(context, builder, signature, args):
        width = signature.return_type.dtype.bitwidth
        name = f"llvm.sqrt.v{LANES}f{width}"
        kind = ir.FunctionType(args[0].type, [args[0].type])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return x(x), emit


@intrinsic
def widen(typing_context, x):
    """Return a vector as float64."""

    def emit(context, builder, signature, args):
        wide = ir.VectorType(ir.DoubleType(), LANES)
        return args[0] if args[0].type == wide else builder.fpext(args[0], wide)

    return Vector(types.float64)(x), emit


def _fold_lanes(builder, x, combine):
    """Emit the combination of all lanes: halves onto halves, always in the same order."""
    count = LANES
    while count > 1:
        count //= 2
        low, high = (
            builder.shuffle_vector(
                x,
                ir.Constant(x.type, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(i, i + count))),
            )
            for i in (0, count)
        )
        x = combine(low, high)
    return builder.extract_element(x, ir.Constant(ir.IntType(32), 0))


@intrinsic
def sum_lanes(typing_context, x):
    """Return the sum of the lanes."""

    def emit(context, builder, signature, args):
        return _fold_lanes(builder, args[0], builder.fadd)

    return x.dtype(x), emit


@intrinsic
def max_lanes(typing_context, x):
    """Return the largest lane; of numbers only (the caller's sum shows a NaN)."""

    def emit(context, builder, signature, args):
        def larger(a, b):
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        return _fold_lanes(builder, args[0], larger)

    return x.dtype(x), emit


@intrinsic
def dropout_mask(typing_context, array, counter, first_key, second_key, threshold, scale):
    """Return LANES factors, `scale` or 0, from a hash of two keys and counter + lane.

    A factor is 0 where the hash is below `threshold`, of 2**32. The hash is the
    finaliser of MurmurHash3 (Appleby 2011), once per key.
    """

    def emit(context, builder, signature, args):
        _, counter, first_key, second_key, threshold, scale = args
        word = ir.IntType(32)
        lanes = ir.VectorType(word, LANES)

        def constant(value):
            return ir.Constant(lanes, [value] * LANES)

        def key(value):
            return broadcast(builder, builder.trunc(value, word))

        def mix(x):
            for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
                x = builder.xor(x, builder.lshr(x, constant(shift)))
                x = builder.mul(x, constant(factor))
            return builder.xor(x, builder.lshr(x, constant(16)))

        counters = builder.add(key(counter), ir.Constant(lanes, list(range(LANES))))
        mixed = mix(builder.xor(mix(builder.xor(counters, key(first_key))), key(second_key)))
        dropped = builder.icmp_unsigned("<", mixed, key(threshold))
        scale = broadcast(builder, scale)
        return builder.select(dropped, ir.Constant(scale.type, None), scale)

    index = types.intp
    return Vector(array.dtype)(array, index, index, index, index, array.dtype), emit
