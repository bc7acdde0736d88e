"""Optimizers on the flat buffer: clipping and update in one pass, and the gradient's norm.

Buffers are flat and a multiple of LANES long. With s the scale that bounds the norm and
k the bound on each entry (infinite where clipping is off), every update starts from

    g = clamp(s * gradient, -k, k)

Entries are independent and each is computed alone, so bits depend on nothing else.
"""

import numpy as np

from charlstm.kernels.jit import cached_njit, jitable
from charlstm.kernels.vector import LANES, clamp, load, splat, square_root, store, sum_lanes, widen

NORM_BLOCK = 4096  # entries; partial sums of fixed blocks are added in order


@cached_njit
def squared_norm(gradient):
    """Return the sum of squares, in float64, of fixed blocks added in order."""
    total = 0.0
    for start in range(0, gradient.size, NORM_BLOCK):
        squares = widen(splat(gradient, 0))
        for i in range(start, min(start + NORM_BLOCK, gradient.size), LANES):
            g = widen(load(gradient, i))
            squares = squares + g * g
        total += sum_lanes(squares)
    return total


@cached_njit
def adagrad(parameters, gradient, squares, rows, rate, scale, bound, eps):
    """Duchi, Hazan & Singer 2011: squares += g^2; parameters -= rate g / (sqrt(squares) + eps).

    Updates `parameters` and `squares` in place. A gradient of zero changes neither, so the
    rows without one are left out; `rows` may be none.
    """
    done = 0  # vectors may straddle two rows: none is updated twice
    for row in range(rows.used.size):
        if rows.used[row]:
            first = max(done, row * rows.length // LANES * LANES)
            done = (row + 1) * rows.length
            done = (done + LANES - 1) // LANES * LANES
            _adagrad_range(parameters, gradient, squares, first, done, rate, scale, bound, eps)
    first = max(done, rows.used.size * rows.length // LANES * LANES)
    _adagrad_range(parameters, gradient, squares, first, parameters.size, rate, scale, bound, eps)


@jitable
def _adagrad_range(parameters, gradient, squares, first, last, rate, scale, bound, eps):
    for i in range(first, last, LANES):
        g = clamp(load(gradient, i) * scale, -bound, bound)
        total = load(squares, i) + g * g
        store(squares, i, total)
        store(parameters, i, load(parameters, i) - g * rate / (square_root(total) + eps))


@cached_njit
def rmsprop(parameters, gradient, squares, rate, scale, bound, decay, eps):
    """Tieleman & Hinton 2012: squares is a running mean of g^2, kept by `decay`.

    Updates `parameters` and `squares` in place.
    """
    for i in range(0, parameters.size, LANES):
        g = clamp(load(gradient, i) * scale, -bound, bound)
        mean = load(squares, i) * decay + g * g * (1.0 - decay)
        store(squares, i, mean)
        store(parameters, i, load(parameters, i) - g * rate / (square_root(mean) + eps))


@cached_njit
def adam(
    parameters, gradient, exp_avg, exp_avg_sq, rate, scale, bound, first_decay, second_decay,
    first_weight, second_weight, eps,
):  # fmt: skip
    """Kingma & Ba 2015, as PyTorch computes it; the weights are 1 - decay^step.

    Updates `parameters`, `exp_avg` and `exp_avg_sq` in place.
    """
    step = rate / first_weight
    root = 1.0 / np.sqrt(second_weight)
    for i in range(0, parameters.size, LANES):
        g = clamp(load(gradient, i) * scale, -bound, bound)
        mean = load(exp_avg, i) * first_decay + g * (1.0 - first_decay)
        square = load(exp_avg_sq, i) * second_decay + g * g * (1.0 - second_decay)
        store(exp_avg, i, mean)
        store(exp_avg_sq, i, square)
        denominator = square_root(square) * root + eps
        store(parameters, i, load(parameters, i) - mean * step / denominator)
