"""The micro-kernel: one register tile of C = A @ B or C += A @ B, emitted as vector instructions.

A tile of `rows` x `vectors * LANES` elements of C stays in registers while k runs from its
first to its last value. For each k the kernel loads `vectors` vectors of a packed panel of B,
broadcasts `rows` scalars of A, and issues rows * vectors fused multiply-adds. Every element
of C is one chain of multiply-adds in order of k, so its bits depend neither on the tile's
size nor on the machine's vector width; a processor that cannot fuse them rounds twice.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from charlstm.kernels.simd import (
    LANES,
    broadcast,
    element_pointer,
    load_vector,
    prefetch,
    store_vector,
)
from charlstm.kernels.target import IS_ARM, IS_X86, has_feature, multiplies_bfloat16

PANEL = 64  # columns of a packed panel: the four gates of LANES units
PREFETCH_DISTANCE = 32  # rows of B that a tile of one row asks for before it needs them
INDEX, WORD, BYTE = (ir.IntType(bits) for bits in (64, 32, 8))
FLUSH_TO_ZERO = 0x8040  # of x86's MXCSR: denormal results, and denormal operands


def tile_limits(dtype: types.Number) -> tuple[int, int]:
    """Return the largest tile (rows, vectors) whose accumulators fit the registers.

    The dtype is that of the operands: uint32 where they are pairs.
    """
    wide = has_feature("avx512f")
    register_bits = 512 if wide else 256 if has_feature("avx") else 128
    accumulators = 24 if wide or IS_ARM else 12
    if dtype == types.uint32 and not multiplies_bfloat16():
        accumulators = 12 if wide or IS_ARM else 6  # both halves of pairs need registers
    registers = LANES * dtype.bitwidth // register_bits  # that one vector occupies
    vectors = max(1, accumulators // 6 // registers)
    return min(6, max(1, accumulators // (vectors * registers))), vectors


@intrinsic
def tile_shape(typing_context, operand):
    """Return `tile_limits` of an operand array's dtype as constants."""
    limits = tile_limits(operand.dtype)

    def emit(context, builder, signature, args):
        values = [ir.Constant(INDEX, n) for n in limits]
        return context.make_tuple(builder, signature.return_type, values)

    return types.UniTuple(types.intp, 2)(operand), emit


def _multiply_add(builder, x, y, z):
    """Emit x * y + z: fused where the target can, two roundings where it cannot."""
    if isinstance(x.type.element, ir.IntType):
        return _multiply_add_pairs(builder, x, y, z)
    if IS_X86 and not has_feature("fma"):
        return builder.fadd(builder.fmul(x, y), z)
    suffix = "f32" if x.type.element == ir.FloatType() else "f64"
    kind = ir.FunctionType(x.type, [x.type] * 3)
    name = f"llvm.fma.v{LANES}{suffix}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [x, y, z])


def _multiply_add_pairs(builder, x, y, z):
    """Emit z + the product of the pairs' second numbers, and then + that of the first.

    An instruction's result is the same as that of two fused multiply-adds, but that it takes
    denormal numbers as 0, terms and sums. On x86 the emulation's tiles do, too: see
    `_flush_denormals`; on other processors sums below 2**-126 stay what they are.
    """
    if multiplies_bfloat16():
        kind = ir.FunctionType(z.type, [z.type, x.type, y.type])
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, [z, x, y])
    shift = ir.Constant(x.type, [16] * LANES)
    mask = ir.Constant(x.type, [0xFFFF0000] * LANES)
    second = [builder.bitcast(builder.and_(pairs, mask), z.type) for pairs in (x, y)]
    first = [builder.bitcast(builder.shl(pairs, shift), z.type) for pairs in (x, y)]
    return _multiply_add(builder, *first, _multiply_add(builder, *second, z))


def _offset(builder, pointer, *factors):
    """Emit pointer + the product of the factors, in elements."""
    total = factors[0]
    for factor in factors[1:]:
        total = builder.mul(total, factor)
    return builder.gep(pointer, [total])


class _Loop:
    """A counted loop in emitted code; `carry` are its loop-carried values.

    Used as a context manager around the body, which sets `next`; `result` holds the
    values of the last pass. The count is at least one.
    """

    def __init__(self, builder, count, carry):
        self.builder, self.count, self.start = builder, count, carry

    def __enter__(self):
        builder = self.builder
        self.before = builder.block
        self.body = builder.append_basic_block()
        builder.branch(self.body)
        builder.position_at_end(self.body)
        self.counter = builder.phi(INDEX)
        self.carry = [builder.phi(value.type) for value in self.start]
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            return
        builder = self.builder
        end = builder.append_basic_block()
        counted = builder.add(self.counter, ir.Constant(INDEX, 1))
        builder.cbranch(builder.icmp_signed("<", counted, self.count), self.body, end)
        phis = [self.counter, *self.carry]
        starts = [ir.Constant(INDEX, 0), *self.start]
        for phi, start, following in zip(phis, starts, [counted, *self.next], strict=True):
            phi.add_incoming(start, self.before)
            phi.add_incoming(following, builder.block)
        self.result = self.next
        builder.position_at_end(end)


def _emit_start(builder, targets, accumulate):
    """Emit the values that the sums start from: those of C, or zeros."""
    before, load, end = builder.block, *(builder.append_basic_block() for _ in range(2))
    builder.cbranch(accumulate, load, end)
    builder.position_at_end(load)
    values = [load_vector(builder, target) for target in targets]
    builder.branch(end)
    builder.position_at_end(end)
    sums = [builder.phi(value.type) for value in values]
    for phi, value in zip(sums, values, strict=True):
        phi.add_incoming(ir.Constant(value.type, None), before)
        phi.add_incoming(value, load)
    return sums


def _emit_tile(builder, rows, vectors, c, a, b, accumulate):
    """Emit the loops of one tile size.

    `c` is a pointer and the row stride, `a` a pointer and the row, k and run strides, `b` a
    pointer, k and the number of runs.
    """
    (c, c_stride), (a, row_stride, k_stride, run_stride), (b, k, runs) = c, a, b
    targets = [
        _offset(builder, builder.gep(c, [ir.Constant(INDEX, v * LANES)]), c_stride, INDEX(r))
        for r in range(rows)
        for v in range(vectors)
    ]
    sums = _emit_start(builder, targets, accumulate)
    with _Loop(builder, runs, [a, b, *sums]) as outer:
        with _Loop(builder, k, outer.carry) as inner:
            a, b, *sums = inner.carry
            columns = [
                load_vector(builder, builder.gep(b, [INDEX(v * LANES)])) for v in range(vectors)
            ]
            if rows == 1:  # nothing is used twice: memory sets the pace
                for v in range(vectors):
                    prefetch(
                        builder, builder.gep(b, [INDEX(v * LANES + PREFETCH_DISTANCE * PANEL)])
                    )
            for r in range(rows):
                scalar = builder.load(_offset(builder, a, row_stride, INDEX(r)))
                row = broadcast(builder, scalar)
                for v in range(vectors):
                    i = r * vectors + v
                    sums[i] = _multiply_add(builder, row, columns[v], sums[i])
            b_next = builder.gep(b, [INDEX(PANEL)])
            inner.next = [builder.gep(a, [k_stride]), b_next, *sums]
        a_next = builder.gep(outer.carry[0], [run_stride])
        outer.next = [a_next, *inner.result[1:]]
    for value, target in zip(outer.result[2:], targets, strict=True):
        store_vector(builder, value, target)


@intrinsic
def multiply_tile(typing_context, rows, vectors, column, c, a, b, accumulate):
    """Set one tile of C to A @ B, or add A @ B to it.

    `c` (Output) is overwritten or added to, and `b` (Panel) read, from `column` on: `rows` x
    `vectors` * LANES elements, within `tile_shape`. `a` is an Input; see `matmul` for the
    three. `accumulate` tells whether to add. No size is zero.
    """
    signature = types.void(types.intp, types.intp, types.intp, c, a, b, types.boolean)

    def emit(context, builder, signature, args):
        rows, vectors, column, *operands, accumulate = args
        flattened = _flatten(context, builder, (c, a, b), operands, column)
        pointers = [value.type for value in flattened if isinstance(value.type, ir.PointerType)]
        function = _tile_function(builder.module, a[0].dtype, *pointers)
        builder.call(function, [rows, vectors, *flattened, accumulate])
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def multiply_largest_tile(typing_context, c, a, b):
    """Add A @ B to one tile of C, of `tile_shape`: sooner compiled than a tile of any size.

    `c` (Output) is added to; `a` is an Input, `b` a Panel; neither k nor runs are zero.
    """

    def emit(context, builder, signature, args):
        operands = _flatten(context, builder, (c, a, b), args, INDEX(0))
        c_pointer, a_pointer, b_pointer = operands[:2], operands[2:6], operands[6:]
        limits = tile_limits(a[0].dtype)
        _emit_tile(builder, *limits, c_pointer, a_pointer, b_pointer, ir.IntType(1)(1))
        return context.get_dummy_value()

    return types.void(c, a, b), emit


def _flatten(context, builder, kinds, operands, column):
    """Return pointers and sizes of an Output, an Input and a Panel, from a column on, in a row."""
    flattened = []
    for kind, operand, shift in zip(kinds, operands, (column, INDEX(0), column), strict=True):
        data, offset, *strides = cgutils.unpack_tuple(builder, operand)
        offset = builder.add(offset, shift)
        flattened += [element_pointer(context, builder, kind[0], data, offset), *strides]
    return flattened


def _tile_function(module, dtype, c, a, b):
    """Return the function that holds every tile size; one copy a module, never inlined."""
    is_emulated = dtype == types.uint32 and not multiplies_bfloat16()
    # Of functions of one name the compiler keeps the first, whichever module it is in.
    name = f"charlstm_multiply_tile_{dtype}" + "_emulated" * is_emulated
    if name in module.globals:
        return module.globals[name]
    kinds = [INDEX, INDEX, c, INDEX, a, INDEX, INDEX, INDEX, b, INDEX, INDEX]
    kinds.append(ir.IntType(1))
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    rows, vectors, *operands, accumulate = function.args
    c, a, b = operands[:2], operands[2:6], operands[6:]
    builder = ir.IRBuilder(function.append_basic_block())
    control = _flush_denormals(builder) if is_emulated and IS_X86 else None
    max_rows, max_vectors = tile_limits(dtype)
    done = function.append_basic_block()
    size = builder.add(builder.mul(rows, INDEX(max_vectors + 1)), vectors)
    switch = builder.switch(size, done)
    for r in range(1, max_rows + 1):
        for v in range(1, max_vectors + 1):
            builder.position_at_end(function.append_basic_block())
            switch.add_case(INDEX(r * (max_vectors + 1) + v), builder.block)
            _emit_tile(builder, r, v, c, a, b, accumulate)
            builder.branch(done)
    builder.position_at_end(done)
    if control:
        _call_with_pointer(builder, "llvm.x86.sse.ldmxcsr", control)
    builder.ret_void()
    return function


def _flush_denormals(builder):
    """Emit what makes the processor take denormal numbers as 0; return where its state before is.

    The compiler moves no arithmetic across: every sum is between a load and a store.
    """
    before, during = (builder.alloca(WORD) for _ in range(2))
    _call_with_pointer(builder, "llvm.x86.sse.stmxcsr", before)
    builder.store(builder.or_(builder.load(before), WORD(FLUSH_TO_ZERO)), during)
    _call_with_pointer(builder, "llvm.x86.sse.ldmxcsr", during)
    return before


def _call_with_pointer(builder, name, pointer):
    """Emit a call of an intrinsic whose argument is the address of bytes."""
    kind = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer()])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(function, [builder.bitcast(pointer, BYTE.as_pointer())])
