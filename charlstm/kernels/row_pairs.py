"""Operands of products that sum over the rows (t, b): features transposed, and panels of rows.

Numbers serve such a product where they lie. Pairs lie along a row there, but must hold two
neighbouring rows' numbers here: they are made for a chunk of rows at a time, just before the
chunk's products, in memory that the L1 and L2 caches hold.
"""

from typing import NamedTuple

import numpy as np

from charlstm.kernels.jit import inline_jitable, jitable
from charlstm.kernels.matmul import KC, Input, Panel
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.operands import numbers_per_element, pair_rows
from charlstm.kernels.panel_layout import whole_vectors
from charlstm.kernels.simd import LANES


class Features(NamedTuple):
    """What a weight was multiplied by: a row of numbers for each (t, b)."""

    data: np.ndarray  # flat, an operand array
    offset: int  # of the first row, in numbers
    width: int  # numbers from one row to the next
    count: int  # numbers of a row that belong to the weight


@inline_jitable
def chunk_rows(operand):
    """Return how many rows of an operand array are KC elements of k."""
    return KC * numbers_per_element(operand)


@inline_jitable
def paired_width(count):
    """Return the length of a row of `count` features in pairs: no power of two, for the cache."""
    return whole_vectors(count) + LANES


@jitable
def transposed_rows(pairs, offset, features, row, count):
    """Return `count` rows of features, from number `row` on, as the Input of a product over them.

    `pairs`, flat, is overwritten from `offset` on where `features` (Features) hold pairs.
    """
    data, first, width, columns = features
    first += row * width
    if numbers_per_element(data) == 1:
        return Input(data, first, 1, width, 0)
    length = paired_width(columns)
    for target in range(offset, offset + (count + 1) // 2 * length, length):
        is_last = count == 1
        for i in range(0, columns, LANES):
            pair_rows(pairs, target + i, data, first + i, first + width + i, is_last)
        first += 2 * width
        count -= 2
    return Input(pairs, offset, 1, length, 0)


@jitable
def row_panel(pairs, data, row, count):
    """Return `count` rows of PANEL numbers, from number `row` on, as the Panel of a product.

    `data`, flat, is an operand array; where it holds pairs, `pairs`, flat, is overwritten from
    its first element on.
    """
    if numbers_per_element(data) == 1:
        return Panel(data, row * PANEL, count, 1)
    for pair in range((count + 1) // 2):
        first = (row + 2 * pair) * PANEL
        is_last = 2 * pair + 1 == count
        for i in range(0, PANEL, LANES):
            pair_rows(pairs, pair * PANEL + i, data, first + i, first + PANEL + i, is_last)
    return Panel(pairs, 0, (count + 1) // 2, 1)
