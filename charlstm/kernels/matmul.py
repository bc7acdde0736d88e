"""Matrix products on packed panels: packing, C = A @ B or C += A @ B, unpacking of gradients.

The right-hand matrix of a product is packed into panels of PANEL columns, each
(depth, PANEL) and contiguous. Matrices whose columns are gates are packed by units: a
panel holds the gates i, f, g, o of LANES units, in that order, so that a tile of the
product holds all that a cell needs. `gated` tells the two kinds apart, and `size` is H
for a gated matrix of 4H columns, the number of columns for a plain one, which
`column_panel` spreads over its panels. What lies beyond `size` is never written: workspaces
are made of zeros.

Arrays are flat here, with offsets, so that each function compiles once per dtype.
"""

from charlstm.kernels.jit import inline_jitable, jitable
from charlstm.kernels.microkernel import PANEL, multiply_tile, tile_shape
from charlstm.kernels.vector import LANES, load, splat, store, transpose_block

VECTORS_PER_PANEL = PANEL // LANES
KC = 2 * PANEL  # depth whose panel, 32 KiB of float32, stays in the first cache
RUNS = 4  # of PANEL, that a product takes at a time where its depth lies in such runs
MC = 48  # rows of a product that are finished before the next ones


@inline_jitable
def whole_vectors(count):
    """Return a number of columns rounded up to whole vectors."""
    return (count + LANES - 1) // LANES * LANES


@inline_jitable
def column_panels(size):
    """Return the vectors that a plain matrix's columns fill, and its panels."""
    vectors = (size + LANES - 1) // LANES
    return vectors, (vectors + VECTORS_PER_PANEL - 1) // VECTORS_PER_PANEL


@inline_jitable
def column_panel(panel, size):
    """Return the first column of a panel of a plain matrix, and how many it holds.

    The columns are spread over as few panels as can be, in whole vectors: 65 columns, five
    vectors, are 32 and 33, for a product with one vector alone is slow.
    """
    vectors, panels = column_panels(size)
    first, last = vectors * panel // panels, vectors * (panel + 1) // panels
    return first * LANES, min(size, last * LANES) - first * LANES


@inline_jitable
def locate_column(column, size):
    """Return the panel that holds a column of a plain matrix, and where in it."""
    vectors, panels = column_panels(size)
    panel = ((column // LANES + 1) * panels - 1) // vectors
    return panel, column - vectors * panel // panels * LANES


@inline_jitable
def panel_columns(panel, size, gated):
    """Return where a panel's groups of LANES columns lie in the matrix.

    Its first column, the columns from one group to the next, the columns left for the
    first group, and how many fewer are left for each next one.
    """
    if gated:
        return panel * LANES, size, size - panel * LANES, 0
    start, count = column_panel(panel, size)
    return start, LANES, count, LANES


@jitable
def pack_panels(packed, packed_offset, panel_size, matrix, offset, rows, size, gated, first, last):
    """Copy the panels first..last of a (rows, columns) matrix, each row read once.

    Panel p goes to ``packed[packed_offset + p * panel_size:]``.
    """
    row_length = VECTORS_PER_PANEL * size if gated else size
    for row in range(rows):
        for panel in range(first, last):
            start, step, count, less = panel_columns(panel, size, gated)
            for group in range(VECTORS_PER_PANEL):
                source = offset + row * row_length + start + group * step
                target = packed_offset + panel * panel_size + row * PANEL + group * LANES
                if count - group * less >= LANES:
                    store(packed, target, load(matrix, source))
                else:
                    for j in range(count - group * less):
                        packed[target + j] = matrix[source + j]


@jitable
def unpack_panel(matrix, offset, packed, packed_offset, rows, size, gated, panel):
    """Copy ``packed[packed_offset:]``, (rows, PANEL), to a panel's place in the matrix."""
    row_length = VECTORS_PER_PANEL * size if gated else size
    start, step, count, less = panel_columns(panel, size, gated)
    for row in range(rows):
        for group in range(VECTORS_PER_PANEL):
            target = offset + row * row_length + start + group * step
            source = packed_offset + row * PANEL + group * LANES
            if count - group * less >= LANES:
                store(matrix, target, load(packed, source))
            else:
                for j in range(count - group * less):
                    matrix[target + j] = packed[source + j]


@jitable
def pack_panel_transposed(packed, packed_offset, matrix, offset, rows, size, gated, panel):
    """Copy PANEL rows of a matrix, transposed: the panel (columns in panel order, PANEL).

    The packed depth runs over the matrix's columns in the order that `pack_panels` gives
    them, so that gradients in panel order meet their own weights.
    """
    row_length = VECTORS_PER_PANEL * size if gated else size
    panels = (size + LANES - 1) // LANES if gated else (size + PANEL - 1) // PANEL
    first, last = panel * PANEL, min(rows, (panel + 1) * PANEL)
    for column_panel in range(panels):
        start, step, count, less = panel_columns(column_panel, size, gated)
        for group in range(VECTORS_PER_PANEL):
            column, columns = start + group * step, min(LANES, count - group * less)
            target = packed_offset + (column_panel * PANEL + group * LANES) * PANEL
            row = first
            while columns == LANES and row + LANES <= last:
                source = offset + row * row_length + column
                transpose_block(packed, target + row - first, PANEL, matrix, source, row_length)
                row += LANES
            for rest in range(row, last):
                source = offset + rest * row_length + column
                for j in range(columns):
                    packed[target + rest - first + j * PANEL] = matrix[source + j]


@inline_jitable
def split_evenly(rows, most):
    """Return the parts of at most `most` rows, their size, and how many first ones hold 1 more."""
    parts = (rows + most - 1) // most
    size = rows // max(1, parts)
    return parts, size, rows - size * parts


@jitable
def multiply_panel(
    c, c_offset, c_row, a, a_offset, a_row, a_step, a_block, b, b_offset, depth, blocks,
    rows, width, adds,
):  # fmt: skip
    """Set `rows` x `width` elements of C to A @ B, or add it where `adds`; B is one packed panel.

    See `multiply_tile` for where the elements lie. `width` is a multiple of LANES; the
    depth is one run of any length, or `blocks` runs of PANEL. A block of rows stays in
    the first cache through all of the depth, and a chunk of the panel while every tile of
    the block runs over it. Rows are spread split_evenly: 50 rows are two blocks of 25.
    """
    first = 0
    parts, size, more = split_evenly(rows, MC)
    for part in range(parts):
        count = size + 1 if part < more else size
        most = KC if blocks == 1 else RUNS * PANEL
        for chunk in range((depth * blocks + most - 1) // most):
            done = chunk * most
            if blocks == 1:
                a_start = a_offset + first * a_row + done * a_step
                chunk_depth, chunk_blocks = min(KC, depth - done), 1
            else:
                a_start = a_offset + first * a_row + done // PANEL * a_block
                chunk_depth, chunk_blocks = depth, min(RUNS, blocks - done // PANEL)
            multiply_chunk(
                c, c_offset + first * c_row, c_row, a, a_start, a_row, a_step, a_block,
                b, b_offset + done * PANEL, chunk_depth, chunk_blocks, count, width,
                adds or chunk > 0,
            )  # fmt: skip
        first += count


@jitable
def multiply_chunk(
    c, c_offset, c_row, a, a_offset, a_row, a_step, a_block, b, b_offset, depth, blocks,
    rows, width, adds,
):  # fmt: skip
    """Do as `multiply_panel` for few rows and a short depth, tile by tile."""
    tile_rows, _ = tile_shape(c)
    first = 0
    tiles, size, more = split_evenly(rows, tile_rows)
    for tile in range(tiles):
        count = size + 1 if tile < more else size
        multiply_rows(
            c, c_offset + first * c_row, c_row, a, a_offset + first * a_row, a_row, a_step,
            a_block, b, b_offset, depth, blocks, count, width, adds,
        )  # fmt: skip
        first += count


@inline_jitable
def multiply_rows(
    c, c_offset, c_row, a, a_offset, a_row, a_step, a_block, b, b_offset, depth, blocks,
    rows, width, adds,
):  # fmt: skip
    """Do as `multiply_panel` for the rows of one tile."""
    _, tile_vectors = tile_shape(c)
    for column in range(0, width, tile_vectors * LANES):
        multiply_tile(
            rows, min(tile_vectors, (width - column) // LANES), c, c_offset + column, c_row,
            a, a_offset, a_row, a_step, a_block, b, b_offset + column, depth, blocks, adds,
        )  # fmt: skip


@jitable
def fill(array, offset, count, value):
    """Set `count` elements from `offset` on to `value`; count is a multiple of LANES."""
    vector = splat(array, value)
    for i in range(offset, offset + count, LANES):
        store(array, i, vector)


@jitable
def multiply_transposed(
    c, c_offset, a, a_offset, a_width, b, b_offset, depth, rows, width, adds
):  # fmt: skip
    """Set C, (rows, PANEL), to A.T @ B, or add it; A is (depth, a_width), B (depth, PANEL)."""
    multiply_panel(
        c, c_offset, PANEL, a, a_offset, 1, a_width, 0, b, b_offset, depth, 1, rows, width, adds
    )


@jitable
def add_row_sum(total, total_offset, panel, offset, rows):
    """Add the sum of a panel's rows, in order, to PANEL elements of `total`."""
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


@jitable
def set_rows(panel, offset, rows, row, row_offset):
    """Set every row of a panel to ``row[row_offset:]``."""
    for group in range(0, PANEL, LANES):
        value = load(row, row_offset + group)
        for i in range(offset + group, offset + rows * PANEL, PANEL):
            store(panel, i, value)
