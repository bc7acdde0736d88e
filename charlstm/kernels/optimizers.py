"""Optimizers on the flat buffer: clipping and update in one pass, and the gradient's norm.

Buffers are flat, all of one length, a multiple of LANES. Every update starts from

    g = clamp(scale * gradient, -bound, bound)

Entries are independent and each is computed alone, so bits depend on nothing else.
"""

from typing import NamedTuple

import numpy as np

from charlstm.kernels.jit import cached_njit, jitable
from charlstm.kernels.simd import LANES, clamp, load, splat, square_root, store, sum_lanes, widen

NORM_BLOCK = 4096  # entries; partial sums of fixed blocks are added in order


class Step(NamedTuple):
    """What all optimizers are told of one step."""

    rate: float  # the learning rate
    scale: float  # of the gradient: below 1 where its norm is clipped
    bound: float  # on each entry of the scaled gradient; infinite where clipping is off


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
def adagrad(parameters, gradient, squares, rows, step, eps):
    """Duchi, Hazan & Singer 2011: squares += g^2; parameters -= rate g / (sqrt(squares) + eps).

    `parameters` and `squares` are updated in place. `rows` (ActiveRows) may be none: a
    gradient of zero changes nothing, so the rows without one are left out. `step` is a Step.
    """
    done = 0  # vectors may straddle two rows: none is updated twice
    for row in range(rows.used.size):
        if rows.used[row]:
            first = max(done, row * rows.length // LANES * LANES)
            done = (row + 1) * rows.length
            done = (done + LANES - 1) // LANES * LANES
            _adagrad_range(parameters, gradient, squares, first, done, step, eps)
    first = max(done, rows.used.size * rows.length // LANES * LANES)
    _adagrad_range(parameters, gradient, squares, first, parameters.size, step, eps)


@jitable
def _adagrad_range(parameters, gradient, squares, first, last, step, eps):
    """Update the entries first..last, whole vectors; arguments are those of `adagrad`."""
    rate, scale, bound = step
    for i in range(first, last, LANES):
        g = clamp(load(gradient, i) * scale, -bound, bound)
        total = load(squares, i) + g * g
        store(squares, i, total)
        store(parameters, i, load(parameters, i) - g * rate / (square_root(total) + eps))


@cached_njit
def rmsprop(parameters, gradient, squares, step, decay, eps):
    """Tieleman & Hinton 2012: squares is a running mean of g^2, kept by `decay`.

    `parameters` and `squares` are updated in place. `step` is a Step.
    """
    rate, scale, bound = step
    for i in range(0, parameters.size, LANES):
        g = clamp(load(gradient, i) * scale, -bound, bound)
        mean = load(squares, i) * decay + g * g * (1.0 - decay)
        store(squares, i, mean)
        store(parameters, i, load(parameters, i) - g * rate / (square_root(mean) + eps))


@cached_njit
def adam(parameters, gradient, exp_avg, exp_avg_sq, step, betas, corrections, eps):
    """Kingma & Ba 2015, as PyTorch computes it.

    `parameters`, `exp_avg` and `exp_avg_sq` are updated in place. `step` is a Step; `betas` are
    the decays of the two means, and `corrections` 1 - beta^n of either, for step number n.
    """
    (rate, scale, bound), (beta1, beta2), (correction1, correction2) = step, betas, corrections
    step_size = rate / correction1
    root = 1.0 / np.sqrt(correction2)
    for i in range(0, parameters.size, LANES):
        g = clamp(load(gradient, i) * scale, -bound, bound)
        mean = load(exp_avg, i) * beta1 + g * (1.0 - beta1)
        square = load(exp_avg_sq, i) * beta2 + g * g * (1.0 - beta2)
        store(exp_avg, i, mean)
        store(exp_avg_sq, i, square)
        denominator = square_root(square) * root + eps
        store(parameters, i, load(parameters, i) - mean * step_size / denominator)
