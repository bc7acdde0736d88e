"""Panels: the blocks of PANEL columns that products read, and where a matrix's columns lie.

A weight has three layouts; here weight_hh, of H = 20 units, so of P = 2 panels::

    file, PyTorch's (4H, in)    flat buffer, (in, 4H)         panels, (P, in, PANEL)

          in                       i    f    g    o              i    f    g    o
        +-----+                  +----+----+----+----+         +----+----+----+----+
    i   | 20  |               in | 20 | 20 | 20 | 20 |      in | 16 | 16 | 16 | 16 |
        +-----+                  +----+----+----+----+         +----+----+----+----+
    f   | 20  |                                              units 0 to 15 of each gate
        +-----+                                                +----+----+----+----+
    g   | 20  |                                             in | 4  | 4  | 4  | 4  |
        +-----+                                                +----+----+----+----+
    o   | 20  |                                              units 16 to 19, then padding
        +-----+

The file's matrix is a transposed view of the buffer's. A panel of *gate-interleaved* columns
holds the gates i, f, g, o of LANES units, so that a tile of a product holds all that a cell
needs. Matrices whose columns are no gates (the head's, by symbol) have *column panels*: up to
PANEL neighbouring columns in each. Nothing is written beyond a matrix's own columns: panels
are made of zeros, and padding stays zero.
"""

from charlstm.kernels.jit import inline_jitable, jitable
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.simd import LANES, load, splat, store

VECTORS_PER_PANEL = PANEL // LANES


@inline_jitable
def whole_vectors(count):
    """Return a number of columns, `count`, rounded up to whole vectors."""
    return (count + LANES - 1) // LANES * LANES


@inline_jitable
def column_panels(size):
    """Return how many vectors `size` columns fill, and how many column panels."""
    vectors = (size + LANES - 1) // LANES
    return vectors, (vectors + VECTORS_PER_PANEL - 1) // VECTORS_PER_PANEL


@inline_jitable
def column_panel(panel, size):
    """Return the first of `size` columns that column panel number `panel` holds, and how many.

    The columns are spread over as few panels as possible, in whole vectors: 65 columns, five
    vectors, are 32 and 33, for a product with one vector alone is slow.
    """
    vectors, panels = column_panels(size)
    first, last = vectors * panel // panels, vectors * (panel + 1) // panels
    return first * LANES, min(size, last * LANES) - first * LANES


@inline_jitable
def locate_column(column, size):
    """Return the column panel that holds one of `size` columns, and the column within it."""
    vectors, panels = column_panels(size)
    panel = ((column // LANES + 1) * panels - 1) // vectors
    return panel, column - vectors * panel // panels * LANES


@inline_jitable
def panel_columns(panel, size, interleaved):
    """Return where a panel's groups of LANES columns lie in its matrix.

    `size` is H where gates are `interleaved`, else the number of columns. Returned are the
    first group's first column, the columns from one group to the next, the columns that
    remain for the first group, and the decrement of that number from group to group.
    """
    if interleaved:
        return panel * LANES, size, size - panel * LANES, 0
    start, count = column_panel(panel, size)
    return start, LANES, count, LANES


@jitable
def fill(array, offset, count, value):
    """Set `count` elements of a flat array, a multiple of LANES, from `offset` on to `value`."""
    vector = splat(array, value)
    for i in range(offset, offset + count, LANES):
        store(array, i, vector)


@jitable
def set_rows(panel, offset, rows, row, row_offset):
    """Set `rows` rows of a panel to one row.

    `panel` is flat, its rows from `offset` on overwritten; the row is PANEL elements of the
    flat array `row` from `row_offset` on.
    """
    for group in range(0, PANEL, LANES):
        value = load(row, row_offset + group)
        for i in range(offset + group, offset + rows * PANEL, PANEL):
            store(panel, i, value)


@jitable
def add_row_sum(total, total_offset, panel, offset, rows):
    """Add the sum of `rows` rows of a panel, in order, to one row.

    `panel` is flat, its rows from `offset` on; PANEL elements of the flat array `total` from
    `total_offset` on are added to.
    """
    i = load(total, total_offset)
    f = load(total, total_offset + LANES)
    g = load(total, total_offset + 2 * LANES)
    o = load(total, total_offset + 3 * LANES)
    for row in range(offset, offset + rows * PANEL, PANEL):
        i = i + load(panel, row)
        f = f + load(panel, row + LANES)
        g = g + load(panel, row + 2 * LANES)
        o = o + load(panel, row + 3 * LANES)
    store(total, total_offset, i)
    store(total, total_offset + LANES, f)
    store(total, total_offset + 2 * LANES, g)
    store(total, total_offset + 3 * LANES, o)
