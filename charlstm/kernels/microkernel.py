"""The micro-kernel: one register tile of C = A @ B or C += A @ B, emitted as vector instructions.

A tile of `rows` x `vectors * LANES` elements of C stays in registers while the depth is
run through. Per step of depth the kernel loads `vectors` vectors of a packed panel of B,
broadcasts `rows` scalars of A, and issues rows * vectors fused multiply-adds. Every
element of C is one chain of multiply-adds in order of depth, so its bits depend neither
on the tile's size nor on the machine's vector width.
"""

import platform

import llvmlite.binding
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from charlstm.kernels.vector import (
    LANES,
    broadcast,
    element_pointer,
    load_vector,
    prefetch,
    store_vector,
)

PANEL = 64  # columns of a packed panel: the four gates of LANES units
PREFETCH_DISTANCE = 32  # steps of depth that a single row asks for before it needs them
INDEX = ir.IntType(64)


def _has_feature(name: str) -> bool:
    """Tell whether the kernels' target has a processor feature (NUMBA_CPU_FEATURES first)."""
    chosen = numba.config.CPU_FEATURES
    if chosen is not None:
        return f"+{name}" in chosen.split(",")
    return bool(llvmlite.binding.get_host_cpu_features().get(name, False))


def tile_limits(dtype: types.Float) -> tuple[int, int]:
    """Return the largest tile (rows, vectors) whose accumulators fit the registers."""
    arm = platform.machine().lower() in ("arm64", "aarch64")
    wide = _has_feature("avx512f")
    register_bits = 512 if wide else 256 if _has_feature("avx") else 128
    accumulators = 24 if wide or arm else 12
    registers = LANES * dtype.bitwidth // register_bits  # that one vector occupies
    vectors = max(1, accumulators // 6 // registers)
    return min(6, max(1, accumulators // (vectors * registers))), vectors


@intrinsic
def tile_shape(typing_context, c):
    """Return `tile_limits` of an array's dtype as constants."""
    limits = tile_limits(c.dtype)

    def emit(context, builder, signature, args):
        values = [ir.Constant(INDEX, n) for n in limits]
        return context.make_tuple(builder, signature.return_type, values)

    return types.UniTuple(types.intp, 2)(c), emit


def _multiply_add(builder, x, y, z):
    """Emit x * y + z: fused where the target can, two roundings where it cannot."""
    if platform.machine().lower() in ("x86_64", "amd64") and not _has_feature("fma"):
        return builder.fadd(builder.fmul(x, y), z)
    suffix = "f32" if x.type.element == ir.FloatType() else "f64"
    kind = ir.FunctionType(x.type, [x.type] * 3)
    name = f"llvm.fma.v{LANES}{suffix}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [x, y, z])


def _offset(builder, pointer, *factors):
    """Emit pointer + the product of the factors, in elements."""
    total = factors[0]
    for factor in factors[1:]:
        total = builder.mul(total, factor)
    return builder.gep(pointer, [total])


class _Loop:
    """A counted loop in emitted code; `carry` are its loop-carried values.

    Used as a context manager around the body, which sets `next`; `result` holds the
    values after the last pass. The count is at least one.
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
        after = builder.append_basic_block()
        counted = builder.add(self.counter, ir.Constant(INDEX, 1))
        builder.cbranch(builder.icmp_signed("<", counted, self.count), self.body, after)
        phis = [self.counter, *self.carry]
        starts = [ir.Constant(INDEX, 0), *self.start]
        for phi, start, following in zip(phis, starts, [counted, *self.next], strict=True):
            phi.add_incoming(start, self.before)
            phi.add_incoming(following, builder.block)
        self.result = self.next
        builder.position_at_end(after)


def _emit_start(builder, targets, adds):
    """Emit the values that the sums start from: those of C, or zeros."""
    before, load, after = builder.block, *(builder.append_basic_block() for _ in range(2))
    builder.cbranch(adds, load, after)
    builder.position_at_end(load)
    values = [load_vector(builder, target) for target in targets]
    builder.branch(after)
    builder.position_at_end(after)
    sums = [builder.phi(value.type) for value in values]
    for phi, value in zip(sums, values, strict=True):
        phi.add_incoming(ir.Constant(value.type, None), before)
        phi.add_incoming(value, load)
    return sums


def _emit_tile(builder, rows, vectors, c, c_row, a, a_row, a_step, a_block, b, depth, blocks, adds):
    """Emit the loops of one tile size; the operands are pointers and strides."""
    targets = [
        _offset(builder, builder.gep(c, [ir.Constant(INDEX, v * LANES)]), c_row, INDEX(r))
        for r in range(rows)
        for v in range(vectors)
    ]
    sums = _emit_start(builder, targets, adds)
    with _Loop(builder, blocks, [a, b, *sums]) as outer:
        with _Loop(builder, depth, outer.carry) as inner:
            a_now, b_now, *sums = inner.carry
            columns = [
                load_vector(builder, builder.gep(b_now, [INDEX(v * LANES)])) for v in range(vectors)
            ]
            if rows == 1:  # nothing is used twice: memory sets the pace
                for v in range(vectors):
                    prefetch(
                        builder, builder.gep(b_now, [INDEX(v * LANES + PREFETCH_DISTANCE * PANEL)])
                    )
            for r in range(rows):
                scalar = builder.load(_offset(builder, a_now, a_row, INDEX(r)))
                row = broadcast(builder, scalar)
                for v in range(vectors):
                    i = r * vectors + v
                    sums[i] = _multiply_add(builder, row, columns[v], sums[i])
            b_next = builder.gep(b_now, [INDEX(PANEL)])
            inner.next = [builder.gep(a_now, [a_step]), b_next, *sums]
        a_next = builder.gep(outer.carry[0], [a_block])
        outer.next = [a_next, *inner.result[1:]]
    for value, target in zip(outer.result[2:], targets, strict=True):
        store_vector(builder, value, target)


@intrinsic
def multiply_tile(
    typing_context, rows, vectors, c, c_offset, c_row, a, a_offset, a_row, a_step, a_block,
    b, b_offset, depth, blocks, adds,
):  # fmt: skip
    """Set one tile of C to A @ B, or add it where `adds`; offsets and strides in elements.

    C[r, n] is at ``c_offset + r * c_row + n``; A[r, k] with k = block * depth + i at
    ``a_offset + r * a_row + block * a_block + i * a_step``; B[k, n] at
    ``b_offset + k * PANEL + n``. `rows` and `vectors` within `tile_shape`; `depth` and
    `blocks` at least 1.
    """
    dtype = c.dtype
    signature = types.void(
        types.intp, types.intp, c, types.intp, types.intp,
        a, types.intp, types.intp, types.intp, types.intp,
        b, types.intp, types.intp, types.intp, types.boolean,
    )  # fmt: skip

    def emit(context, builder, signature, args):
        rows, vectors, c, c_offset, c_row, a, a_offset, a_row, a_step, a_block = args[:10]
        b, b_offset, depth, blocks, adds = args[10:]
        c = element_pointer(context, builder, signature.args[2], c, c_offset)
        a = element_pointer(context, builder, signature.args[5], a, a_offset)
        b = element_pointer(context, builder, signature.args[10], b, b_offset)
        function = _tile_function(builder.module, dtype, c.type)
        builder.call(
            function, [rows, vectors, c, c_row, a, a_row, a_step, a_block, b, depth, blocks, adds]
        )
        return context.get_dummy_value()

    return signature, emit


def _tile_function(module, dtype, pointer):
    """Return the function that holds every tile size; one copy a module, never inlined."""
    name = f"charlstm_multiply_tile_{dtype}"
    if name in module.globals:
        return module.globals[name]
    kinds = [INDEX, INDEX, pointer, INDEX, pointer, INDEX, INDEX, INDEX, pointer, INDEX, INDEX]
    kinds.append(ir.IntType(1))
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    rows, vectors, *operands = function.args
    builder = ir.IRBuilder(function.append_basic_block())
    most_rows, most_vectors = tile_limits(dtype)
    done = function.append_basic_block()
    size = builder.add(builder.mul(rows, INDEX(most_vectors + 1)), vectors)
    switch = builder.switch(size, done)
    for r in range(1, most_rows + 1):
        for v in range(1, most_vectors + 1):
            builder.position_at_end(function.append_basic_block())
            switch.add_case(INDEX(r * (most_vectors + 1) + v), builder.block)
            _emit_tile(builder, r, v, *operands)
            builder.branch(done)
    builder.position_at_end(done)
    builder.ret_void()
    return function
