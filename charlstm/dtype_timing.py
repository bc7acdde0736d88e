"""How bfloat16's products compare with float32's on this processor, by a measurement."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from charlstm.kernels.matmul import KC
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.throughput import multiply_repeatedly
from charlstm.parameters import aligned_zeros

MAX_ROWS = 6  # of a tile
BLOCK = 0.002  # seconds that a dtype's turn takes
TURNS = 7  # the least time counts: disturbances only lengthen it


def bfloat16_slowdown(hidden_size: int) -> float:
    """Return the time of products in bfloat16 over that of the same products in float32.

    Parameters
    ----------
    hidden_size
        H: products sum over so many numbers, or as many as the kernels multiply at a time.

    Notes
    -----
    It takes a few hundredths of a second, and half a second more where the two products are
    compiled for the first time on a machine.
    """
    k = min(hidden_size, KC)
    float32, bfloat16 = _product(np.float32, k), _product(np.uint32, (k + 1) // 2)
    repeats = 1
    while _seconds_per_row(float32, repeats) * MAX_ROWS < BLOCK / repeats:
        repeats *= 2
    turns = [[_seconds_per_row(f, repeats) for f in (bfloat16, float32)] for _ in range(TURNS)]
    return min(ours for ours, _ in turns) / min(theirs for _, theirs in turns)


def _product(dtype: type[np.generic], k: int) -> Callable[[int], int]:
    """Return what multiplies operands of this dtype and k elements, and returns their rows."""
    c = aligned_zeros(MAX_ROWS * PANEL, np.float32)
    a, b = aligned_zeros(MAX_ROWS * k, dtype), aligned_zeros(k * PANEL, dtype)
    multiply_repeatedly(c, a, b, k, 1)  # compiles
    return lambda repeats: int(multiply_repeatedly(c, a, b, k, repeats))


def _seconds_per_row(multiply: Callable[[int], int], repeats: int) -> float:
    """Return the seconds of a row of one product; tiles differ in their rows."""
    started = time.perf_counter()
    rows = multiply(repeats)
    return (time.perf_counter() - started) / (rows * repeats)
