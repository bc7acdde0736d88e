"""A layer's weight gradients: sums over all time steps and streams, panel by panel.

Every sum runs over the rows (t, b) in order, whoever owns the panel. A chunk of dgates is
read from memory once, for all that is computed from it, and several panels at a time share
what is read of the features.

Gradients of a panel lie in `scratch` as rows of PANEL elements: those of weight_ih, one for
each input (I), then those of weight_hh, one for each unit (H), then the bias. Products read
`operands`, the dgates as operands; sums of dgates alone read these themselves. `pairs` is
memory for pairs of rows: of a panel, then of h, then of x (see `row_pairs`).
"""

from charlstm.kernels.embedding import embedding_backward
from charlstm.kernels.jit import inlined_njit
from charlstm.kernels.matmul import KC, Output, multiply_panel
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.panel_layout import add_row_sum, fill
from charlstm.kernels.row_pairs import chunk_rows, paired_width, row_panel, transposed_rows


@inlined_njit
def embedding_layer_gradients(scratch, pairs, dgates, operands, ids, used, h, first, last):
    """Compute the gradients of a layer that reads ids, for its panels first..last.

    `scratch` and `pairs` are overwritten, as above with I = V, but for the rows of symbols that
    are not `used` (V,). `dgates` and `operands` (P, T * B, PANEL) and `ids` (T * B,) are flat;
    `h` (Features) is what weight_hh was multiplied by.
    """
    rows, symbols, length = ids.size, used.size, chunk_rows(operands)
    size = (symbols + h.count + 1) * PANEL
    for panel in range(first, last):
        start = (panel - first) * size
        fill(scratch, start + (symbols + h.count) * PANEL, PANEL, 0)
        for symbol in range(symbols):
            if used[symbol]:
                fill(scratch, start + symbol * PANEL, PANEL, 0)
    for row in range(0, rows, length):
        count = min(length, rows - row)
        below = transposed_rows(pairs, KC * PANEL, h, row, count)
        for panel in range(first, last):
            table = (panel - first) * size
            weight_hh = table + symbols * PANEL
            chunk = row_panel(pairs, operands, panel * rows + row, count)
            offset = (panel * rows + row) * PANEL
            multiply_panel(Output(scratch, weight_hh, PANEL), below, chunk, h.count, PANEL, row > 0)
            embedding_backward(scratch, table, dgates, offset, ids, row, row + count)
            add_row_sum(scratch, weight_hh + h.count * PANEL, dgates, offset, count)


@inlined_njit
def dense_layer_gradients(scratch, pairs, dgates, operands, rows, x, h, first, last):
    """Compute the gradients of a layer that reads vectors, for its panels first..last.

    `scratch` and `pairs` are overwritten, as above. `dgates` and `operands` (P, `rows`, PANEL)
    are flat, their rows all (t, b); `x` and `h` (Features) are what weight_ih and weight_hh
    were multiplied by.
    """
    length = chunk_rows(operands)
    size = (x.count + h.count + 1) * PANEL
    for panel in range(first, last):
        fill(scratch, (panel - first) * size + (x.count + h.count) * PANEL, PANEL, 0)
    for row in range(0, rows, length):
        count = min(length, rows - row)
        offset = KC * PANEL
        h_rows = transposed_rows(pairs, offset, h, row, count)
        x_rows = transposed_rows(pairs, offset + KC * paired_width(h.count), x, row, count)
        for panel in range(first, last):
            weight_ih = (panel - first) * size
            weight_hh = weight_ih + x.count * PANEL
            chunk = row_panel(pairs, operands, panel * rows + row, count)
            adds = row > 0
            multiply_panel(Output(scratch, weight_hh, PANEL), h_rows, chunk, h.count, PANEL, adds)
            multiply_panel(Output(scratch, weight_ih, PANEL), x_rows, chunk, x.count, PANEL, adds)
            offset = (panel * rows + row) * PANEL
            add_row_sum(scratch, weight_hh + h.count * PANEL, dgates, offset, count)
