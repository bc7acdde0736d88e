"""Matrix products on packed panels: packing, C += A @ B, and unpacking of gradients.

The right-hand matrix of a product is packed into panels of PANEL columns, each
(depth, PANEL) and contiguous. Matrices whose columns are gates are packed by units: a
panel holds the gates i, f, g, o of LANES units, in that order, so that a tile of the
product holds all that a cell needs. `gated` tells the two kinds apart, and `size` is H
for a gated matrix of 4H columns, the number of columns for a plain one. What lies
beyond `size` is never written: workspaces are made of zeros.

Arrays are flat here, with offsets, so that each function compiles once per dtype.
"""

from charlstm.kernels.compiler import inline_kernel, kernel, stage
from charlstm.kernels.tile import PANEL, multiply_tile, tile_shape
from charlstm.kernels.vector import LANES, load, splat, store

GROUPS = PANEL // LANES
CHUNK = 2 * PANEL  # depth whose panel, 32 KiB of float32, stays in the first cache


@inline_kernel
def group_columns(panel, group, size, gated):
    """Return the first matrix column of a panel's group of LANES, and how many exist."""
    if gated:
        return group * size + panel * LANES, min(LANES, size - panel * LANES)
    start = panel * PANEL + group * LANES
    return start, max(0, min(LANES, size - start))


@kernel
def pack_panel(packed, packed_offset, matrix, offset, rows, size, gated, panel):
    """Copy one panel of a (rows, columns) matrix to ``packed[packed_offset:]``."""
    row_length = GROUPS * size if gated else size
    for row in range(rows):
        for group in range(GROUPS):
            start, count = group_columns(panel, group, size, gated)
            source = offset + row * row_length + start
            target = packed_offset + row * PANEL + group * LANES
            if count == LANES:
                store(packed, target, load(matrix, source))
            else:
                for j in range(count):
                    packed[target + j] = matrix[source + j]


@kernel
def unpack_panel(matrix, offset, packed, packed_offset, rows, size, gated, panel):
    """Copy ``packed[packed_offset:]``, (rows, PANEL), to a panel's place in the matrix."""
    row_length = GROUPS * size if gated else size
    for row in range(rows):
        for group in range(GROUPS):
            start, count = group_columns(panel, group, size, gated)
            target = offset + row * row_length + start
            source = packed_offset + row * PANEL + group * LANES
            if count == LANES:
                store(matrix, target, load(packed, source))
            else:
                for j in range(count):
                    matrix[target + j] = packed[source + j]


@kernel
def pack_panel_transposed(packed, packed_offset, matrix, offset, rows, size, gated, panel):
    """Copy PANEL rows of a matrix, transposed: the panel (columns in panel order, PANEL).

    The packed depth runs over the matrix's columns in the order that `pack_panel` gives
    them, so that gradients in panel order meet their own weights.
    """
    row_length = GROUPS * size if gated else size
    panels = (size + LANES - 1) // LANES if gated else (size + PANEL - 1) // PANEL
    first = panel * PANEL
    for row in range(first, min(rows, first + PANEL)):
        for column_panel in range(panels):
            for group in range(GROUPS):
                start, count = group_columns(column_panel, group, size, gated)
                source = offset + row * row_length + start
                depth = column_panel * PANEL + group * LANES
                target = packed_offset + depth * PANEL + row - first
                for j in range(count):
                    packed[target + j * PANEL] = matrix[source + j]


@kernel
def multiply_panel(
    c, c_offset, c_row, a, a_offset, a_row, a_step, a_block, b, b_offset, depth, blocks,
    rows, width,
):  # fmt: skip
    """Add A @ B to `rows` x `width` elements of C, B being one packed panel.

    See `multiply_tile` for where the elements lie. `width` is a multiple of LANES; the
    depth is one run of any length, or `blocks` runs of PANEL. A chunk of the panel stays
    in the first cache while every tile of rows runs over it. Rows are spread evenly over
    tiles: 25 rows are five tiles of five.
    """
    tile_rows, tile_vectors = tile_shape(c)
    tiles = (rows + tile_rows - 1) // tile_rows
    chunks = (depth * blocks + CHUNK - 1) // CHUNK
    for chunk in range(chunks):
        if blocks == 1:
            a_start = a_offset + chunk * CHUNK * a_step
            chunk_depth, chunk_blocks = min(CHUNK, depth - chunk * CHUNK), 1
        else:
            a_start = a_offset + chunk * (CHUNK // PANEL) * a_block
            chunk_depth = depth
            chunk_blocks = min(CHUNK // PANEL, blocks - chunk * (CHUNK // PANEL))
        for column in range(0, width, tile_vectors * LANES):
            vectors = min(tile_vectors, (width - column) // LANES)
            b_start = b_offset + chunk * CHUNK * PANEL + column
            row = 0
            for tile in range(tiles):
                count = (rows - row + tiles - tile - 1) // (tiles - tile)
                multiply_tile(
                    count, vectors, c, c_offset + row * c_row + column, c_row,
                    a, a_start + row * a_row, a_row, a_step, a_block,
                    b, b_start, chunk_depth, chunk_blocks,
                )  # fmt: skip
                row += count


@kernel
def fill(array, offset, count, value):
    """Set `count` elements from `offset` on to `value`; count is a multiple of LANES."""
    vector = splat(array, value)
    for i in range(offset, offset + count, LANES):
        store(array, i, vector)


@stage
def multiply_transposed(c, a, a_offset, a_width, b, b_offset, depth, first, last, width):
    """Set rows first..last of C, (M, PANEL), to the same rows of A.T @ B.

    A is (depth, a_width), B one panel (depth, PANEL): the product of every weight
    gradient, sums over time and streams in one fixed order.
    """
    fill(c, first * PANEL, (last - first) * PANEL, 0)
    multiply_panel(
        c, first * PANEL, PANEL, a, a_offset + first, 1, a_width, 0,
        b, b_offset, depth, 1, last - first, width,
    )  # fmt: skip


@kernel
def sum_rows(total, panel, offset, rows):
    """Set the first PANEL elements of `total` to the sum of a panel's rows, in order."""
    zero = splat(total, 0)
    i, f, g, o = zero, zero, zero, zero
    for row in range(offset, offset + rows * PANEL, PANEL):
        i = i + load(panel, row)
        f = f + load(panel, row + LANES)
        g = g + load(panel, row + 2 * LANES)
        o = o + load(panel, row + 3 * LANES)
    store(total, 0, i)
    store(total, LANES, f)
    store(total, 2 * LANES, g)
    store(total, 3 * LANES, o)


@kernel
def set_rows(panel, offset, rows, row, row_offset):
    """Set every row of a panel to ``row[row_offset:]``."""
    for group in range(0, PANEL, LANES):
        value = load(row, row_offset + group)
        for i in range(offset + group, offset + rows * PANEL, PANEL):
            store(panel, i, value)


@kernel
def add_to_rows(panel, offset, rows, row, row_offset):
    """Add ``row[row_offset:]`` to every row of a panel."""
    for group in range(0, PANEL, LANES):
        value = load(row, row_offset + group)
        for i in range(offset + group, offset + rows * PANEL, PANEL):
            store(panel, i, load(panel, i) + value)
