"""Kernels one by one: the functions of vectors, packing, products, and softmax."""

import decimal
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import (
    Array,
    normwise,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)

from charlstm.kernels import activations, matmul, packing, simd, softmax
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.simd import LANES

DTYPES = ["float32", "float64"]
EXACT = decimal.Context(prec=60)
LIMITS = {"float32": 43.0, "float64": 350.0}  # beyond them exp stops


def lane_by_lane(function: Any) -> Callable[[Array], Array]:
    """Return an inline kernel of one vector as a function of an array, whole lanes long."""

    @numba.njit
    def apply(out, x):
        for i in range(0, x.size, LANES):
            simd.store(out, i, function(simd.load(x, i)))

    def call(x: Array) -> Array:
        out = np.empty_like(x)
        apply(out, x)
        return out

    return call


@numba.njit
def first_sigmoid(x):
    """Pair a sigmoid with the one of -x: the two differ most, and share a division."""
    return activations.sigmoids(x, -x)[0]


@numba.njit
def second_sigmoid(x):
    """Return the other of the two."""
    return activations.sigmoids(-x, x)[1]


@numba.njit
def paired_tanh(x):
    """Pair tanh with the sigmoid of the same."""
    return activations.tanh_and_sigmoid(x, x)[0]


@numba.njit
def paired_sigmoid(x):
    """Pair a sigmoid with the tanh of -x."""
    return activations.tanh_and_sigmoid(-x, x)[1]


exp = lane_by_lane(activations.exp)
tanh = lane_by_lane(activations.tanh)
SIGMOIDS = [lane_by_lane(f) for f in (first_sigmoid, second_sigmoid, paired_sigmoid)]
TANHS = [tanh, lane_by_lane(paired_tanh)]
NAMED = pytest.mark.parametrize("function", [exp, *SIGMOIDS, *TANHS])


@numba.njit
def pack(packed, matrix, panel):
    """Compile `pack_panels`, for one panel."""
    packing.pack_panels(packed, 0, 0, matrix, panel, panel + 1)


@numba.njit
def pack_transposed(packed, matrix, panel):
    """Compile `pack_panel_transposed`."""
    packing.pack_panel_transposed(packed, 0, matrix, panel)


@numba.njit
def unpack(matrix, panel, packed):
    """Compile `unpack_panel`."""
    packing.unpack_panel(matrix, panel, packed, 0)


@numba.njit
def multiply(c, a, row_stride, k_stride, b, k, rows, width, accumulate):
    """Compile `multiply_panel`, for one run of k."""
    matmul.multiply_panel(
        matmul.Output(c, 0, PANEL), matmul.Input(a, 0, row_stride, k_stride, 0),
        matmul.Panel(b, 0, k, 1), rows, width, accumulate,
    )  # fmt: skip


@numba.njit
def cross_entropy(losses, logits, symbols, targets, scale, train):
    """Compile `cross_entropy_row`, for every row of `logits`."""
    for row in range(targets.size):
        losses[row] = softmax.cross_entropy_row(
            logits, row, targets.size, symbols, targets[row], scale, train
        )


# The exponential and what is made of it


def samples(dtype: str) -> Array:
    """Return arguments within the limits: all over, near 0, and where ranges are joined."""
    rng = np.random.default_rng(0)
    limit = LIMITS[dtype]
    smallest = float(np.finfo(dtype).smallest_subnormal)
    positive = np.concatenate(
        [
            rng.uniform(0, limit, 1500),
            rng.uniform(0, 2, 1000),
            np.geomspace(smallest, limit, 500),
            [0.0, limit],
        ]
    )
    turns = (np.arange(0, limit, 5) + 0.5) * np.log(2)  # where the power of two changes
    positive = np.concatenate([positive, *(turns * (1 + s * 1e-7) for s in (-1, 0, 1))])
    positive = positive[positive <= limit]
    x = np.concatenate([positive, -positive]).astype(dtype)
    return np.pad(x, (0, -x.size % LANES))


def largest_error(y: Array, x: Array, exact: Callable[[Decimal], Decimal]) -> float:
    """Return the largest distance of y from exact(x), in units in the last place."""
    with decimal.localcontext(EXACT):
        truth = [exact(Decimal(float(value))) for value in x]
        unit = np.spacing(np.abs(np.array(truth, dtype=np.float64)).astype(y.dtype))
        distance = [
            abs(Decimal(float(a)) - b) / Decimal(float(u))
            for a, b, u in zip(y, truth, unit, strict=True)
        ]
    return float(max(distance))


def exact_tanh(x: Decimal) -> Decimal:
    """Return tanh(x); 60 digits are enough for any x but the subnormal, where it is x."""
    if abs(x) < Decimal("1e-15"):
        return x
    return ((2 * x).exp() - 1) / ((2 * x).exp() + 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_is_within_2_ulp(dtype: str) -> None:
    """From the smallest normal number up."""
    x = samples(dtype)
    assert largest_error(exp(x), x, Decimal.exp) <= 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sigmoid", SIGMOIDS)
def test_sigmoid_is_within_4_ulp(sigmoid: Callable[[Array], Array], dtype: str) -> None:
    """Both tails."""
    x = samples(dtype)
    assert largest_error(sigmoid(x), x, lambda z: 1 / (1 + (-z).exp())) <= 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", TANHS)
def test_tanh_is_within_5_ulp(function: Callable[[Array], Array], dtype: str) -> None:
    """Near zero too, where it is its argument."""
    x = samples(dtype)
    assert largest_error(function(x), x, exact_tanh) <= 5


@pytest.mark.parametrize("dtype", DTYPES)
def test_beyond_the_limits(dtype: str) -> None:
    """Exp vanishes below and stops above; sigmoid and tanh saturate; nothing overflows."""
    largest = float(np.finfo(dtype).max)
    x = np.tile(np.array([-np.inf, -largest, largest, np.inf], dtype), LANES // 4)
    limit = np.full(LANES, LIMITS[dtype], dtype)
    np.testing.assert_array_equal(exp(x)[:2], 0)
    np.testing.assert_array_equal(exp(x)[2:4], exp(limit)[:2])
    for sigmoid in SIGMOIDS:
        np.testing.assert_allclose(sigmoid(x)[2:4], 1, rtol=1e-7)
        assert (sigmoid(x)[:2] <= 1.001 / exp(limit)[0]).all()
        assert (sigmoid(x)[:2] >= 0).all()
    for function in TANHS:
        np.testing.assert_allclose(function(x)[:4], [-1, -1, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@NAMED
def test_nan_stays_in_its_lane(function: Callable[[Array], Array], dtype: str) -> None:
    """A number that is none is never hidden, and hides no other."""
    x = np.linspace(-3, 3, LANES, dtype=dtype)
    expected = function(x)
    x[5] = expected[5] = np.nan
    np.testing.assert_array_equal(function(x), expected)


# Packing


def panels_of(size: int, interleaved: bool) -> int:
    """Return how many panels a matrix has."""
    return -(-size // (LANES if interleaved else PANEL))


def column_panels(matrix: Array, padding: float = 0) -> list[Array]:
    """Return a matrix's column panels (rows, PANEL): its vectors, as evenly as can be."""
    size = matrix.shape[1]
    panels, vectors = panels_of(size, interleaved=False), -(-size // LANES)
    cuts = [vectors * panel // panels * LANES for panel in range(1, panels)]
    parts = np.split(matrix, cuts, axis=1)
    assert all(0 < part.shape[1] <= PANEL for part in parts)
    return [
        np.pad(part, ((0, 0), (0, PANEL - part.shape[1])), constant_values=padding)
        for part in parts
    ]


def packed_columns(matrix: Array, size: int, interleaved: bool) -> list[Array]:
    """Return, slowly and obviously, each panel (rows, PANEL), zeros where there is nothing."""
    rows = len(matrix)
    if not interleaved:
        return column_panels(matrix)
    gates = matrix.reshape(rows, PANEL // LANES, size)
    wide = np.pad(gates, ((0, 0), (0, 0), (0, -size % LANES)))
    return [p.reshape(rows, PANEL) for p in np.split(wide, panels_of(size, interleaved), axis=2)]


@settings(max_examples=40)
@given(st.integers(1, 70), st.integers(1, 140), st.booleans(), st.sampled_from(DTYPES))
@example(1, 1, True, "float32")
@example(64, 64, False, "float32")
def test_packing(rows: int, size: int, interleaved: bool, dtype: str) -> None:
    """Panels hold what they should, transposed ones too, and unpacking undoes packing."""
    columns = size * (PANEL // LANES if interleaved else 1)
    matrix = np.arange(1, rows * columns + 1, dtype=dtype).reshape(rows, columns)
    back = np.zeros_like(matrix)
    source = packing.Matrix(matrix.reshape(-1), 0, rows, size, interleaved)
    target = packing.Matrix(back.reshape(-1), 0, rows, size, interleaved)
    expected = packed_columns(matrix, size, interleaved)
    for panel, right in enumerate(expected):
        packed = np.zeros((rows, PANEL), dtype)
        pack(packed.reshape(-1), source, panel)
        np.testing.assert_array_equal(packed, right)
        unpack(target, panel, packed.reshape(-1))
    np.testing.assert_array_equal(back, matrix)
    across = np.concatenate(expected, axis=1)  # columns in panel order
    for panel in range(-(-rows // PANEL)):
        packed = np.zeros((across.shape[1], PANEL), dtype)
        pack_transposed(packed.reshape(-1), source, panel)
        some = across[panel * PANEL : (panel + 1) * PANEL].T
        np.testing.assert_array_equal(packed, np.pad(some, ((0, 0), (0, PANEL - some.shape[1]))))


# Products


@settings(max_examples=60)
@given(
    st.integers(1, 40), st.integers(1, 300), st.integers(1, PANEL // LANES), st.booleans(),
    st.sampled_from(DTYPES),
)  # fmt: skip
@example(1, 1, 1, False, "float32")
@example(7, 1, 4, True, "float64")
def test_products_of_whole_numbers_are_exact(
    rows: int, k: int, groups: int, transposed: bool, dtype: str
) -> None:
    """C = A @ B and C += A @ B for any number of rows, either stride of A, part of a panel."""
    rng = np.random.default_rng(rows)
    width = groups * LANES
    a = rng.integers(-9, 10, (rows, k))
    b = rng.integers(-9, 10, (k, PANEL))
    c = rng.integers(-9, 10, (rows + 1, PANEL))
    stored = np.ascontiguousarray(a.T if transposed else a, dtype)
    row_stride, k_stride = (1, rows) if transposed else (k, 1)
    for accumulate in (False, True):
        expected, result = c.copy(), c.astype(dtype)
        expected[:rows, :width] = a @ b[:, :width] + (c[:rows, :width] if accumulate else 0)
        multiply(
            result.reshape(-1), stored.reshape(-1), row_stride, k_stride,
            b.astype(dtype).reshape(-1), k, rows, width, accumulate,
        )  # fmt: skip
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_of_a_product_do_not_depend_on_its_tile(dtype: str) -> None:
    """A row's sums are the same among any number of other rows, and at any width."""
    rng = np.random.default_rng(0)
    k = 67
    a = rng.normal(size=(13, k)).astype(dtype)
    b = rng.normal(size=(k, PANEL)).astype(dtype)

    def times_b(part: Array, width: int = PANEL) -> Array:
        c, rows = np.zeros((len(part), PANEL), dtype), len(part)
        flat_part, flat_b = part.reshape(-1), b.reshape(-1)
        multiply(c.reshape(-1), flat_part, k, 1, flat_b, k, rows, width, False)
        return c[:, :width]

    whole = times_b(a)
    assert normwise(whole, a.astype(np.float64) @ b) <= k * np.finfo(dtype).eps
    for rows in range(1, len(a)):
        np.testing.assert_array_equal(times_b(a[:rows]), whole[:rows])
    np.testing.assert_array_equal(times_b(a, LANES), whole[:, :LANES])


# Softmax


def in_panels(logits: Array) -> Array:
    """Return (rows, V) as panels (R, rows, PANEL), padded with what must never be seen."""
    return np.stack(column_panels(logits, np.nan))


def run_softmax(logits: Array, targets: Array, train: bool = True) -> tuple[Array, Array]:
    """Return the losses (rows,), and the gradients (rows, V) of their mean."""
    rows, symbols = logits.shape
    panels = in_panels(logits)
    losses = np.empty(rows, logits.dtype)
    cross_entropy(losses, panels, symbols, targets, 1 / rows, train)
    held = column_panels(np.ones_like(logits))  # where the panels hold symbols
    if train:
        last, count = panels[-1], int(held[-1][0].sum())
        padding = last[np.isfinite(losses), count : count + -count % LANES]
        assert not padding.any()
    parts = [panel[:, mask[0] > 0] for panel, mask in zip(panels, held, strict=True)]
    return losses, np.concatenate(parts, axis=1)


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 200), st.sampled_from([0.1, 3.0, 30.0]))
@example(1, 1, 1.0)
@example(2, 128, 30.0)
def test_softmax(rows: int, symbols: int, spread: float) -> None:
    """Loss and gradient are the oracle's, in both precisions."""
    rng = np.random.default_rng(symbols)
    logits = rng.normal(0, spread, (rows, symbols)).astype("float32").astype("float64")
    targets = rng.integers(symbols, size=rows)
    wanted_loss = softmax_cross_entropy_forward(logits, targets)
    expected = softmax_cross_entropy_backward(logits, targets)
    for dtype in DTYPES:
        losses, dlogits = run_softmax(logits.astype(dtype), targets)
        scale = max(1.0, np.abs(logits).max()) * np.finfo(dtype).eps
        assert abs(losses.mean(dtype="float64") - wanted_loss) <= 4 * scale
        assert np.abs(dlogits - expected).max() <= 16 * scale / rows
        without, _ = run_softmax(logits.astype(dtype), targets, train=False)
        np.testing.assert_array_equal(without, losses)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_far_logits(dtype: str) -> None:
    """Differences beyond the range of exp are losses like any other."""
    logits = np.array([[1e4, -1e4, 0], [-3e4, -3e4, -3e4], [0, 0, 1e4], [-2e38] * 3], dtype)
    eps = float(np.finfo(dtype).eps)
    losses, dlogits = run_softmax(logits, np.array([1, 2, 2, 2]))
    np.testing.assert_allclose(losses, [2e4, np.log(3), 0, np.log(3)], rtol=4 * eps)
    alike = [1 / 3, 1 / 3, -2 / 3]
    expected = np.array([[1, -1, 0], alike, [0, 0, 0], alike]) / 4
    np.testing.assert_allclose(dlogits, expected, rtol=0, atol=eps)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_shows_what_is_not_a_number(dtype: str, bad: float) -> None:
    """In whatever lane it is, the loss of its row is NaN, and no other's."""
    for symbol in (0, 15, 16, 69):
        logits = np.zeros((2, 70), dtype)
        logits[0, symbol] = bad
        losses, _ = run_softmax(logits, np.array([1, 1]))
        assert np.isnan(losses).tolist() == [True, False]
