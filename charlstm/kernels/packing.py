"""Packing: weights from the flat buffer into panels, gradients from panels into the buffer.

See `panel_layout` for the layouts.
"""

from typing import NamedTuple

import numpy as np

from charlstm.kernels.array_views import flat
from charlstm.kernels.jit import jitable
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.operands import (
    numbers_per_element,
    pair_numbers,
    store_pairs,
    transpose_block,
)
from charlstm.kernels.panel_layout import VECTORS_PER_PANEL, panel_columns
from charlstm.kernels.simd import LANES, load, splat, store


class PackedWeights(NamedTuple):
    """A model's weights in panels, repacked every call; P panels of units, Q of H, R of V.

    Those that take part in products are operand arrays; of pairs, they have half the rows.
    """

    used: np.ndarray  # (V,) bool, an input: the symbols whose rows this window needs
    table: np.ndarray  # (P, V, PANEL): layer 0's input weights, of the symbols in use
    bias: np.ndarray  # (L, P, PANEL)
    weight_ih: np.ndarray  # (L - 1, P, H, PANEL): the layers above the first
    weight_hh: np.ndarray  # (L, P, H, PANEL)
    head: np.ndarray  # (R, H, PANEL)
    head_bias: np.ndarray  # (R, PANEL)
    weight_ih_t: np.ndarray  # (L - 1, Q, P * PANEL, PANEL)
    weight_hh_t: np.ndarray  # (L, Q, P * PANEL, PANEL)
    head_t: np.ndarray  # (Q, R * PANEL, PANEL)
    hidden: int  # H


class ActiveRows(NamedTuple):
    """The rows that a flat buffer begins with, one a symbol, and which of them matter."""

    used: np.ndarray  # (V,) bool: the gradient of all others is zero
    length: int  # elements of a row


class Matrix(NamedTuple):
    """A matrix in a flat buffer, row by row."""

    data: np.ndarray
    offset: int
    rows: int
    size: int  # H where it has 4H gate-interleaved columns, else its columns
    interleaved: bool


@jitable
def pack_panels(packed, packed_offset, panel_stride, matrix, first, last):
    """Copy the panels first..last of a matrix, each of its rows read once.

    `packed`, an operand array, is flat; panel p, (rows, PANEL) or half the rows in pairs, is
    written to ``packed[packed_offset + p * panel_stride:]``. `matrix` is a Matrix.
    """
    size, interleaved = matrix.size, matrix.interleaved
    row_length = VECTORS_PER_PANEL * size if interleaved else size
    numbers = numbers_per_element(packed)
    zero = matrix.data.dtype.type(0)
    for row in range(0, matrix.rows, numbers):
        has_second = numbers == 2 and row + 1 < matrix.rows
        for panel in range(first, last):
            start, stride, count, decrement = panel_columns(panel, size, interleaved)
            for group in range(VECTORS_PER_PANEL):
                source = matrix.offset + row * row_length + start + group * stride
                target = packed_offset + panel * panel_stride + group * LANES
                target += row // numbers * PANEL
                if count - group * decrement >= LANES:
                    second = splat(matrix.data, 0)
                    if has_second:
                        second = load(matrix.data, source + row_length)
                    store_pairs(packed, target, load(matrix.data, source), second)
                else:
                    for j in range(count - group * decrement):
                        below = matrix.data[source + row_length + j] if has_second else zero
                        packed[target + j] = pair_numbers(packed, matrix.data[source + j], below)


@jitable
def unpack_panel(matrix, panel, packed, packed_offset):
    """Copy one panel into its matrix, undoing `pack_panels`.

    `matrix` (Matrix) is overwritten where panel number `panel` lies; `packed` is flat and
    holds that panel, (rows, PANEL), from `packed_offset` on.
    """
    size, interleaved = matrix.size, matrix.interleaved
    row_length = VECTORS_PER_PANEL * size if interleaved else size
    start, stride, count, decrement = panel_columns(panel, size, interleaved)
    for row in range(matrix.rows):
        for group in range(VECTORS_PER_PANEL):
            target = matrix.offset + row * row_length + start + group * stride
            source = packed_offset + row * PANEL + group * LANES
            if count - group * decrement >= LANES:
                store(matrix.data, target, load(packed, source))
            else:
                for j in range(count - group * decrement):
                    matrix.data[target + j] = packed[source + j]


@jitable
def pack_panel_transposed(packed, packed_offset, matrix, panel):
    """Copy PANEL rows of a matrix, transposed: a panel with a row for each of its columns.

    `packed`, an operand array, is flat; the panel, (columns, PANEL) or half of it in pairs, is
    written from `packed_offset` on. It holds the rows from ``panel * PANEL`` on of `matrix`
    (Matrix). The columns come in the order in
    which `pack_panels` places them, so that gradients in panels meet their own weights.
    """
    size, interleaved = matrix.size, matrix.interleaved
    row_length = VECTORS_PER_PANEL * size if interleaved else size
    panels = (size + LANES - 1) // LANES if interleaved else (size + PANEL - 1) // PANEL
    first, last = panel * PANEL, min(matrix.rows, (panel + 1) * PANEL)
    numbers = numbers_per_element(packed)
    zero = matrix.data.dtype.type(0)
    for column_panel in range(panels):
        start, stride, count, decrement = panel_columns(column_panel, size, interleaved)
        for group in range(VECTORS_PER_PANEL):
            column, columns = start + group * stride, min(LANES, count - group * decrement)
            target = packed_offset + (column_panel * PANEL + group * LANES) // numbers * PANEL
            row = first
            while columns == LANES and row + LANES <= last:
                source = matrix.offset + row * row_length + column
                transpose_block(
                    packed, target + row - first, PANEL, matrix.data, source, row_length
                )
                row += LANES
            for rest in range(row, last):
                source = matrix.offset + rest * row_length + column
                for j in range(0, columns, numbers):
                    second = zero
                    if numbers == 2 and j + 1 < columns:
                        second = matrix.data[source + j + 1]
                    packed[target + rest - first + j // numbers * PANEL] = pair_numbers(
                        packed, matrix.data[source + j], second
                    )


@jitable
def pack_shard(packed, parameters, offsets, shard, shards, train):
    """Pack the panels of a model that shard number `shard` of `shards` owns.

    `packed` (PackedWeights) is overwritten, but for `used`: of the table only the rows in use
    are packed, and the transposed weights only to `train`. `parameters` is the flat buffer;
    `offsets` (L + 1, 3) tells where in it weight_ih, weight_hh and bias of each layer begin,
    and in the last row the head's weight and bias.
    """
    layers, panels, k, _ = packed.weight_hh.shape
    hidden, symbols = packed.hidden, packed.table.shape[1]
    first, last = panels * shard // shards, panels * (shard + 1) // shards
    buffer, size, all_panels = flat(parameters), k * PANEL, panels * PANEL
    table, bias = flat(packed.table), flat(packed.bias)
    weight_ih, weight_hh = flat(packed.weight_ih), flat(packed.weight_hh)
    for symbol in range(symbols):
        if packed.used[symbol]:
            start = offsets[0, 0] + symbol * VECTORS_PER_PANEL * hidden
            row = Matrix(buffer, start, 1, hidden, True)
            pack_panels(table, symbol * PANEL, symbols * PANEL, row, first, last)
    for layer in range(layers):
        start_ih, start_hh, start_bias = offsets[layer]
        target = layer * all_panels
        matrix = Matrix(buffer, start_hh, hidden, hidden, True)
        pack_panels(weight_hh, target * k, size, matrix, first, last)
        row = Matrix(buffer, start_bias, 1, hidden, True)
        pack_panels(bias, target, PANEL, row, first, last)
        if layer > 0:
            target = (layer - 1) * all_panels * k
            matrix = Matrix(buffer, start_ih, hidden, hidden, True)
            pack_panels(weight_ih, target, size, matrix, first, last)
    columns = packed.head.shape[0]
    first, last = columns * shard // shards, columns * (shard + 1) // shards
    matrix = Matrix(buffer, offsets[layers, 0], hidden, symbols, False)
    pack_panels(flat(packed.head), 0, size, matrix, first, last)
    row = Matrix(buffer, offsets[layers, 1], 1, symbols, False)
    pack_panels(flat(packed.head_bias), 0, PANEL, row, first, last)
    if train:
        for q in range(shard, packed.head_t.shape[0], shards):
            pack_transposed(packed, buffer, offsets, q)


@jitable
def pack_transposed(packed, buffer, offsets, q):
    """Pack panel q, PANEL units, of every transposed matrix.

    Those panels of `packed` (PackedWeights) are overwritten; `buffer` and `offsets` are as in
    `pack_shard`.
    """
    layers, columns, k, _ = packed.weight_hh_t.shape
    head_rows = packed.head_t.shape[1]
    hidden, symbols = packed.hidden, packed.table.shape[1]
    weight_ih, weight_hh = flat(packed.weight_ih_t), flat(packed.weight_hh_t)
    size = k * PANEL
    for layer in range(layers):
        target = (layer * columns + q) * size
        matrix = Matrix(buffer, offsets[layer, 1], hidden, hidden, True)
        pack_panel_transposed(weight_hh, target, matrix, q)
        if layer > 0:
            target = ((layer - 1) * columns + q) * size
            matrix = Matrix(buffer, offsets[layer, 0], hidden, hidden, True)
            pack_panel_transposed(weight_ih, target, matrix, q)
    matrix = Matrix(buffer, offsets[layers, 0], hidden, symbols, False)
    pack_panel_transposed(flat(packed.head_t), q * head_rows * PANEL, matrix, q)
