"""A layer's weight gradients: sums over all time steps and streams, panel by panel.

Every sum runs over the rows (t, b) in order, whoever owns the panel. A chunk of dgates is
read from memory once, for all that is computed from it, and several panels at a time share
what is read of the features.

Gradients of a panel lie in `scratch` as rows of PANEL elements: those of weight_ih, one for
each input (I), then those of weight_hh, one for each unit (H), then the bias.
"""

from typing import NamedTuple

import numpy as np

from charlstm.kernels.embedding import embedding_backward
from charlstm.kernels.jit import inlined_njit, jitable
from charlstm.kernels.matmul import KC, Input, Output, Panel, multiply_panel
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.panel_layout import add_row_sum, fill


class Features(NamedTuple):
    """What a weight was multiplied by: a row of numbers for each (t, b)."""

    data: np.ndarray  # flat
    offset: int  # of the first row
    width: int  # elements from one row to the next
    count: int  # elements of a row that belong to the weight


@jitable
def feature_gradient(scratch, offset, features, dgates, row):
    """Add the rows of one chunk to the gradient of a weight, or set it to the first chunk's.

    `scratch` is flat: the gradient, a row for each feature, lies from `offset` on. `features`
    (Features) and `dgates` (Panel, the chunk) both begin at `row`, which is 0 in the first
    chunk.
    """
    x = Input(
        features.data, features.offset + row * features.width, 1, features.width, 0
    )  # transposed
    target = Output(scratch, offset, PANEL)
    multiply_panel(target, x, dgates, features.count, PANEL, row > 0)


@inlined_njit
def embedding_layer_gradients(scratch, dgates, ids, used, h, first, last):
    """Compute the gradients of a layer that reads ids, for its panels first..last.

    `scratch` is overwritten, as above with I = V, but for the rows of symbols that are not
    `used` (V,). `dgates` (P, T * B, PANEL) and `ids` (T * B,) are flat; `h` (Features) is what
    weight_hh was multiplied by.
    """
    rows, symbols = ids.size, used.size
    size = (symbols + h.count + 1) * PANEL
    for panel in range(first, last):
        start = (panel - first) * size
        fill(scratch, start + (symbols + h.count) * PANEL, PANEL, 0)
        for symbol in range(symbols):
            if used[symbol]:
                fill(scratch, start + symbol * PANEL, PANEL, 0)
    for row in range(0, rows, KC):
        count = min(KC, rows - row)
        for panel in range(first, last):
            table = (panel - first) * size
            weight_hh = table + symbols * PANEL
            chunk = Panel(dgates, (panel * rows + row) * PANEL, count, 1)
            feature_gradient(scratch, weight_hh, h, chunk, row)
            embedding_backward(scratch, table, dgates, chunk.offset, ids, row, row + count)
            add_row_sum(scratch, weight_hh + h.count * PANEL, dgates, chunk.offset, count)


@inlined_njit
def dense_layer_gradients(scratch, dgates, rows, x, h, first, last):
    """Compute the gradients of a layer that reads vectors, for its panels first..last.

    `scratch` is overwritten, as above. `dgates` (P, `rows`, PANEL) is flat, its rows all
    (t, b); `x` and `h` (Features) are what weight_ih and weight_hh were multiplied by.
    """
    size = (x.count + h.count + 1) * PANEL
    for panel in range(first, last):
        fill(scratch, (panel - first) * size + (x.count + h.count) * PANEL, PANEL, 0)
    for row in range(0, rows, KC):
        count = min(KC, rows - row)
        for panel in range(first, last):
            weight_ih = (panel - first) * size
            weight_hh = weight_ih + x.count * PANEL
            chunk = Panel(dgates, (panel * rows + row) * PANEL, count, 1)
            feature_gradient(scratch, weight_hh, h, chunk, row)
            feature_gradient(scratch, weight_ih, x, chunk, row)
            add_row_sum(scratch, weight_hh + h.count * PANEL, dgates, chunk.offset, count)
