"""What products read: numbers as they are, or in pairs, rounded to bfloat16.

An *operand array* has one number an element, float32 or float64, or two: a uint32 then holds
the bfloat16 of number 2 i in its low half and that of 2 i + 1 in its high half. Pairs lie
along k, the dimension that a product sums over, so a product of pairs has half the k; where k
is odd the last pair's second number is 0. Which of the two an array is, is known when a kernel
is compiled. Numbers are rounded to nearest, ties to even; denormal ones, as by the
instructions that this format is made for, to 0.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from charlstm.kernels.simd import LANES, element_pointer, load_transposed, store_vector
from charlstm.kernels.target import multiplies_bfloat16

WORD, HALF = ir.IntType(32), ir.IntType(16)
WORDS, HALVES = ir.VectorType(WORD, LANES), ir.VectorType(HALF, LANES)


def is_paired(array: types.Array) -> bool:
    """Tell whether an operand array of this type holds pairs."""
    return array.dtype == types.uint32


@intrinsic
def numbers_per_element(typing_context, array):
    """Return 2 for an operand array of pairs, else 1: a constant."""
    count = 2 if is_paired(array) else 1

    def emit(context, builder, signature, args):
        return context.get_constant(types.intp, count)

    return types.intp(array), emit


def _constant(kind, value):
    """Return a constant of an integer type, or a vector whose lanes all hold it."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [value] * kind.count)
    return ir.Constant(kind, value)


def _round_bits(builder, x):
    """Emit the bfloat16 of a float32, or of a vector of them, as integers."""
    if x.type == ir.VectorType(ir.FloatType(), LANES) and multiplies_bfloat16():
        kind = ir.FunctionType(HALVES, [x.type])
        name = "llvm.x86.avx512bf16.cvtneps2bf16.512"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [x])
    word, half = (WORDS, HALVES) if isinstance(x.type, ir.VectorType) else (WORD, HALF)

    def constant(value):
        return _constant(word, value)

    bits = builder.bitcast(x, word)
    odd = builder.and_(builder.lshr(bits, constant(16)), constant(1))
    rounded = builder.add(builder.add(bits, constant(0x7FFF)), odd)
    tiny = builder.icmp_unsigned("==", builder.and_(bits, constant(0x7F800000)), constant(0))
    rounded = builder.select(tiny, builder.and_(bits, constant(0x80000000)), rounded)
    is_nan = builder.fcmp_unordered("uno", x, x)
    rounded = builder.select(is_nan, builder.or_(bits, constant(0x00400000)), rounded)
    return builder.trunc(builder.lshr(rounded, constant(16)), half)


def _join(builder, low, high):
    """Emit pairs of two vectors of bfloat16, or of two numbers."""
    word = WORDS if isinstance(low.type, ir.VectorType) else WORD
    high = builder.shl(builder.zext(high, word), _constant(word, 16))
    return builder.or_(builder.zext(low, word), high)


def emit_pairs(builder, low, high):
    """Emit pairs of two vectors of float32, lane by lane, or of two numbers."""
    return _join(builder, _round_bits(builder, low), _round_bits(builder, high))


def _half_pointer(context, builder, kind, array, offset):
    """Emit the address of number `offset` of an array of pairs."""
    data = cgutils.create_struct_proxy(kind)(context, builder, array).data
    return builder.gep(builder.bitcast(data, HALF.as_pointer()), [offset])


@intrinsic
def store_operand(typing_context, array, offset, value):
    """Write LANES numbers, rounded, to an operand array from number `offset`, even, on."""

    def emit(context, builder, signature, args):
        array, offset, value = args
        kind = signature.args[0]
        if not is_paired(kind):
            store_vector(builder, value, element_pointer(context, builder, kind, array, offset))
        else:
            pointer = _half_pointer(context, builder, kind, array, offset)
            pointer = builder.bitcast(pointer, HALVES.as_pointer())
            builder.store(_round_bits(builder, value), pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), emit


@intrinsic
def store_pairs(typing_context, array, offset, low, high):
    """Write LANES pairs of two vectors of numbers, rounded, from element `offset` on.

    Into an array of single numbers only `low` is written.
    """

    def emit(context, builder, signature, args):
        array, offset, low, high = args
        kind = signature.args[0]
        value = emit_pairs(builder, low, high) if is_paired(kind) else low
        store_vector(builder, value, element_pointer(context, builder, kind, array, offset))
        return context.get_dummy_value()

    return types.void(array, types.intp, low, low), emit


@intrinsic
def pair_numbers(typing_context, array, low, high):
    """Return the element of an operand array that holds two numbers, or `low` if it holds one."""

    def emit(context, builder, signature, args):
        _, low, high = args
        return emit_pairs(builder, low, high) if is_paired(signature.args[0]) else low

    return array.dtype(array, low, low), emit


@intrinsic
def transpose_block(typing_context, target, target_offset, target_row, source, offset, row):
    """Copy a block of LANES x LANES numbers, transposed, into an operand array.

    `target_row`, `row` are row strides in elements. The columns of the source become rows of
    the target or, two by two, of its pairs.
    """
    index = types.intp

    def emit(context, builder, signature, args):
        target, target_offset, target_row, source, offset, row = args
        target = element_pointer(context, builder, signature.args[0], target, target_offset)
        source = element_pointer(context, builder, signature.args[3], source, offset)
        columns = load_transposed(builder, source, row)
        if is_paired(signature.args[0]):
            pairs = zip(columns[::2], columns[1::2], strict=True)
            columns = [emit_pairs(builder, *pair) for pair in pairs]
        for i, vector in enumerate(columns):
            pointer = builder.gep(target, [builder.mul(target_row, ir.IntType(64)(i))])
            store_vector(builder, vector, pointer)
        return context.get_dummy_value()

    return types.void(target, index, index, source, index, index), emit


@intrinsic
def pair_rows(typing_context, target, target_offset, source, first, second, is_last):
    """Pair LANES numbers of one row with those below them in the next.

    `target` and `source` are arrays of pairs. LANES pairs are written from element
    `target_offset` on: number `first` + i of the source, and `second` + i, or 0 where the
    first row `is_last`.
    """

    def emit(context, builder, signature, args):
        target, target_offset, source, first, second, is_last = args
        rows = []
        for offset in (first, builder.select(is_last, first, second)):
            pointer = _half_pointer(context, builder, signature.args[2], source, offset)
            pointer = builder.bitcast(pointer, HALVES.as_pointer())
            rows.append(builder.load(pointer, align=2))
        rows[1] = builder.select(is_last, ir.Constant(HALVES, None), rows[1])
        pointer = element_pointer(context, builder, signature.args[0], target, target_offset)
        store_vector(builder, _join(builder, *rows), pointer)
        return context.get_dummy_value()

    index = types.intp
    emits = emit if is_paired(target) and is_paired(source) else _emit_nothing
    return types.void(target, index, source, index, index, types.boolean), emits


def _emit_nothing(context, builder, signature, args):
    return context.get_dummy_value()
