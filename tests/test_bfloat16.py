"""bfloat16: rounding, pairs and tiles against NumPy, to the bit, by the instruction and without."""

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import pytest
from reference import Array

from charlstm.kernels import microkernel, operands, target
from charlstm.kernels.matmul import Input, Output, Panel
from charlstm.kernels.microkernel import PANEL, multiply_tile
from charlstm.kernels.simd import LANES, load

SPECIAL = [0.0, -0.0, 1e-40, -1e-45, np.inf, -np.inf, 3.4028235e38, 1.1754944e-38, 1 + 2**-8]


@pytest.fixture(params=["instruction", "emulation"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Compile kernels with the processor's instructions, or as if it had none."""
    if request.param == "emulation":
        for module in (operands, microkernel):
            monkeypatch.setattr(module, "multiplies_bfloat16", lambda: False)
    elif not target.multiplies_bfloat16():
        pytest.skip("this processor has no instructions for bfloat16")
    yield request.param


def rounded(x: Array) -> Array:
    """Round float32 to bfloat16, nearest even and denormals to 0; return its 16 bits."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    near = bits + 0x7FFF + ((bits >> 16) & 1)
    near = np.where(bits & 0x7F800000 == 0, bits & 0x80000000, near)
    return ((near >> 16) & 0xFFFF).astype(np.uint16)


def widened(halves: Array) -> Array:
    """Return bfloat16 as float32."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def paired(x: Array) -> Array:
    """Return a matrix whose rows are pairs of the rows of `x`, an odd one's with zeros."""
    halves = rounded(np.pad(x, ((0, len(x) % 2), (0, 0))))
    return halves[::2] | halves[1::2].astype(np.uint32) << 16


def flushed(x: Array) -> Array:
    """Return float32 with denormal numbers as 0."""
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x)


def fused(a: Array, b: Array, c: Array) -> Array:
    """Return a * b + c, rounded once: products of bfloat16 are exact in float64."""
    return flushed((a.astype(np.float64) * b + flushed(c)).astype(np.float32))


def product(a: Array, b: Array, c: Array) -> Array:
    """Return c + A @ B of pairs, as the instruction sums: k by k, the odd number first."""
    for k in range(len(b)):
        for shift in (16, 0):
            left, right = (widened(pairs >> shift & 0xFFFF) for pairs in (a[:, k], b[k]))
            c = fused(left[:, None], right[None], c)
    return c


def values(count: int) -> Array:
    """Return numbers of all sizes, among them ties between two bfloat16."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, count, dtype=np.uint32)
    bits[::3] = bits[::3] & 0xFFFF0000 | 0x8000
    x = bits.view(np.float32)
    x[~np.isfinite(x)] = 1.0
    x[: len(SPECIAL)] = SPECIAL
    return x


def test_rounding(way: str) -> None:
    """A vector at a time and one by one; into natural pairs, and of two vectors."""

    @numba.njit
    def store_all(natural, mixed, single, x):
        for i in range(0, x.size, LANES):
            operands.store_operand(natural, i, load(x, i))
            operands.store_pairs(mixed, i, load(x, i), load(x, 0))
        for i in range(x.size):
            single[i] = operands.pair_numbers(single, x[i], x[0])

    x = values(6400)
    halves = rounded(x)
    natural, mixed, single = (np.zeros(n, np.uint32) for n in (x.size // 2, x.size, x.size))
    store_all(natural, mixed, single, x)
    np.testing.assert_array_equal(natural.view(np.uint16), halves)
    np.testing.assert_array_equal(mixed & 0xFFFF, halves)
    np.testing.assert_array_equal(mixed >> 16, np.resize(halves[:LANES], x.size))
    np.testing.assert_array_equal(single & 0xFFFF, halves)
    np.testing.assert_array_equal(single >> 16, halves[0])


def test_nan_stays(way: str) -> None:
    """Also one whose bits would round up to a number."""

    @numba.njit
    def store_one(natural, single, x):
        operands.store_operand(natural, 0, load(x, 0))
        single[0] = operands.pair_numbers(single, x[1], x[0])

    x = np.zeros(LANES, np.uint32)
    x[:4] = 0x7FFFFFFF, 0x7F800001, 0xFFFFFFFF, 0xFFC00000
    natural, single = np.zeros(LANES // 2, np.uint32), np.zeros(1, np.uint32)
    store_one(natural, single, x.view(np.float32))
    is_nan = np.isnan(widened(natural.view(np.uint16)))
    np.testing.assert_array_equal(is_nan, np.arange(LANES) < 4)
    assert np.isnan(widened(single.view(np.uint16))).all()


def test_transposed_and_paired_rows(way: str) -> None:
    """A block's columns become rows of pairs; two rows become one, the last with zeros."""

    @numba.njit
    def move(block, rows, x, natural):
        operands.transpose_block(block, 0, LANES, x, 0, LANES)
        for i in range(3):
            operands.pair_rows(rows, i * LANES, natural, 2 * i * LANES, (2 * i + 1) * LANES, i == 2)

    x = values(LANES * LANES).reshape(LANES, LANES)
    natural = np.ascontiguousarray(rounded(x[:5])).view(np.uint32)
    block, rows = np.zeros((LANES // 2, LANES), np.uint32), np.ones((3, LANES), np.uint32)
    move(block, rows, x, natural)
    np.testing.assert_array_equal(block, paired(x.T))
    np.testing.assert_array_equal(rows, paired(x[:5]))


def tile_caller() -> Any:
    """Return a new function, so that it is compiled the way that is tested."""

    @numba.njit
    def call(c, a, b, k, runs, rows, vectors, accumulate):
        run_stride = k * 7  # rows of A of one run lie together, as those of dgates
        multiply_tile(
            rows, vectors, 0, Output(c, 0, PANEL), Input(a, 0, k, 1, run_stride),
            Panel(b, 0, k, runs), accumulate,
        )  # fmt: skip

    return call


@pytest.mark.parametrize("accumulate", [False, True])
def test_tiles(way: str, accumulate: bool) -> None:
    """Every size, to the bit: k of one pair and more, in runs; the rest of C stays."""
    call, rng = tile_caller(), np.random.default_rng(0)
    max_rows, max_vectors = microkernel.tile_limits(numba.types.uint32)
    sizes = [(r, v) for r in range(1, max_rows + 1) for v in range(1, max_vectors + 1)]
    assert max_rows < 7 and max_vectors * LANES <= PANEL
    for (rows, vectors), (k, runs) in ((s, d) for s in sizes for d in ((1, 1), (9, 1), (4, 3))):
        a, b = rng.normal(size=(2 * k * runs, 7)), rng.normal(size=(2 * k * runs, PANEL))
        pairs_a, pairs_b = paired(a).T, paired(b)
        runs_of_a = pairs_a.reshape(7, runs, k).swapaxes(0, 1)
        c = rng.normal(size=(7, PANEL)).astype(np.float32)
        expected = c.copy()
        tile = np.s_[:rows, : vectors * LANES]
        start = c if accumulate else np.zeros_like(c)
        expected[tile] = product(pairs_a, pairs_b, start)[tile]
        call(c, np.ascontiguousarray(runs_of_a), pairs_b, k, runs, rows, vectors, accumulate)
        np.testing.assert_array_equal(c, expected)


@pytest.mark.parametrize("accumulate", [False, True])
def test_denormal_sums_are_0(way: str, accumulate: bool) -> None:
    """Those that a tile begins with, those on the way, and those it ends with."""
    if way == "emulation" and not target.IS_X86:
        pytest.skip("only x86 has a register for it that the kernels set")
    rng, k, tile = np.random.default_rng(0), 9, np.s_[:1, :LANES]
    a, b = (rng.normal(size=(2 * k, n)) * 2.0**-63 for n in (7, PANEL))
    pairs_a, pairs_b = paired(a).T, paired(b)
    c = (rng.normal(size=(7, PANEL)) * 2.0**-126).astype(np.float32)
    expected = c.copy()
    expected[tile] = product(pairs_a, pairs_b, c if accumulate else np.zeros_like(c))[tile]
    tile_caller()(c, np.ascontiguousarray(pairs_a), pairs_b, k, 1, 1, 1, accumulate)
    np.testing.assert_array_equal(c, expected)
    assert 0 < np.count_nonzero(expected[tile]) < LANES
    tiny = np.full(1, np.finfo(np.float32).tiny)
    assert tiny / 2 > 0  # outside of the tile numbers are what they were


def test_odd_number_is_added_first(way: str) -> None:
    """So that the emulation and the instruction round alike."""
    a, b = np.zeros((1, 1), np.uint32), np.zeros((1, PANEL), np.uint32)
    # 2**24 + 1 (lost) - 2**24 = 0; the other way round it is 1
    a[0] = 0x3F80 << 16 | 0xCB80  # high 1, low -2**24
    b[:] = 0x3F80 << 16 | 0x3F80
    c = np.full((7, PANEL), 2.0**24, np.float32)
    tile_caller()(c, a, b, 1, 1, 1, 1, True)
    np.testing.assert_array_equal(c[0, :LANES], 0)
