"""Matrix products with packed panels: C = A @ B or C += A @ B.

A and C are anything with regular strides, B is one panel. The product is blocked twice, so
that a block of A's rows and a chunk of B are read again from the L1 and L2 caches, and then cut
into the micro-kernel's tiles. Arrays are flat, with offsets, so that each function compiles once
per dtype. A and B are operand arrays (see `operands`), and k counts their elements: numbers or
pairs.
"""

from typing import NamedTuple

import numpy as np

from charlstm.kernels.jit import inline_jitable, jitable
from charlstm.kernels.microkernel import PANEL, multiply_tile, tile_shape
from charlstm.kernels.operands import numbers_per_element
from charlstm.kernels.simd import LANES

KC = 2 * PANEL  # rows in a chunk of a panel: 32 KiB of float32
RUNS = 4  # runs of PANEL rows in a chunk of a panel, where k consists of such runs
MC = 48  # rows of A in a block


class Output(NamedTuple):
    """C of a product: element (r, n) is ``data[offset + r * row_stride + n]``."""

    data: np.ndarray
    offset: int
    row_stride: int


class Input(NamedTuple):
    """A of a product, whose k is one or more runs: k = run * length + i.

    Element (r, k) is ``data[offset + r * row_stride + run * run_stride + i * k_stride]``.
    """

    data: np.ndarray
    offset: int
    row_stride: int
    k_stride: int
    run_stride: int


class Panel(NamedTuple):
    """B of a product: element (k, n) is ``data[offset + k * PANEL + n]``.

    It has `runs` times `k` rows: one run of any length, or several of `run_length` rows.
    """

    data: np.ndarray
    offset: int
    k: int
    runs: int


@inline_jitable
def run_length(operand):
    """Return how many elements of an operand array hold PANEL numbers."""
    return PANEL // numbers_per_element(operand)


@inline_jitable
def split_evenly(rows, limit):
    """Return how many parts of at most `limit` rows there are, their size, and a remainder.

    Each of the first parts, as many as the remainder says, holds one row more.
    """
    parts = (rows + limit - 1) // limit
    size = rows // max(1, parts)
    return parts, size, rows - size * parts


@jitable
def multiply_panel(c, a, b, rows, width, accumulate):
    """Set C to A @ B, or add A @ B to C.

    `c` (Output) is overwritten or added to, `rows` x `width` elements of it, `width` a
    multiple of LANES; `a` is an Input, `b` a Panel; `accumulate` tells whether to add.

    A block of rows stays in the L1 or L2 cache through all of k, and a chunk of the panel while
    every tile of the block passes it. Blocks are even: 50 rows are two of 25.
    """
    first, run = 0, run_length(b.data)
    parts, size, remainder = split_evenly(rows, MC)
    for part in range(parts):
        count = size + 1 if part < remainder else size
        limit = KC if b.runs == 1 else RUNS * run
        for chunk in range((b.k * b.runs + limit - 1) // limit):
            done = chunk * limit
            if b.runs == 1:
                a_offset = a.offset + first * a.row_stride + done * a.k_stride
                k, runs = min(KC, b.k - done), 1
            else:
                a_offset = a.offset + first * a.row_stride + done // run * a.run_stride
                k, runs = b.k, min(RUNS, b.runs - done // run)
            multiply_chunk(
                Output(c.data, c.offset + first * c.row_stride, c.row_stride),
                Input(a.data, a_offset, a.row_stride, a.k_stride, a.run_stride),
                Panel(b.data, b.offset + done * PANEL, k, runs),
                count, width, accumulate or chunk > 0,
            )  # fmt: skip
        first += count


@jitable
def multiply_chunk(c, a, b, rows, width, accumulate):
    """Set C to A @ B, or add A @ B to C, where k and rows are few enough for the caches.

    Arguments are those of `multiply_panel`.
    """
    tile_rows, _ = tile_shape(a.data)
    first = 0
    tiles, size, remainder = split_evenly(rows, tile_rows)
    for tile in range(tiles):
        count = size + 1 if tile < remainder else size
        multiply_rows(
            Output(c.data, c.offset + first * c.row_stride, c.row_stride),
            Input(
                a.data, a.offset + first * a.row_stride, a.row_stride, a.k_stride, a.run_stride
            ),
            b, count, width, accumulate,
        )  # fmt: skip
        first += count


@inline_jitable
def multiply_rows(c, a, b, rows, width, accumulate):
    """Set C to A @ B, or add A @ B to C, where there are no more rows than a tile has.

    Arguments are those of `multiply_panel`.
    """
    _, tile_vectors = tile_shape(a.data)
    for column in range(0, width, tile_vectors * LANES):
        vectors = min(tile_vectors, (width - column) // LANES)
        multiply_tile(rows, vectors, column, c, a, b, accumulate)
