"""Weight gradients: sums over all time steps and streams, one panel at a time.

Every sum runs over the rows (t, b) in order, whoever owns the panel. A chunk of dgates is
read once from memory, for all that is made of it.
"""

from charlstm.kernels.embedding import embedding_backward
from charlstm.kernels.jit import jitable
from charlstm.kernels.matmul import KC, add_row_sum, fill, multiply_transposed
from charlstm.kernels.microkernel import PANEL


@jitable
def layer_gradients(
    scratch, dgates, rows, first, last, h, width, hidden, x, x_offset, x_width, inputs, ids,
    used, one_hot,
):  # fmt: skip
    """Set `scratch` to the gradients of one layer's panels first..last; arrays are flat.

    For each panel it holds `inputs` rows of weight_ih, then `hidden` rows of weight_hh,
    then the bias, each row PANEL long. The layer read `ids` where its input is `one_hot`,
    and only the rows of symbols that are `used` are set (else that is empty); or it read
    `x`, rows (t, b) of `x_width` elements from `x_offset` on. Several panels at a time
    share what is read of h and x.
    """
    size = (inputs + hidden + 1) * PANEL
    for panel in range(first, last):
        at = (panel - first) * size
        fill(scratch, at + (inputs + hidden) * PANEL, PANEL, 0)
        for symbol in range(used.size):
            if used[symbol]:
                fill(scratch, at + symbol * PANEL, PANEL, 0)
    for row in range(0, rows, KC):
        count = min(KC, rows - row)
        for panel in range(first, last):
            at = (panel - first) * size
            weight_hh = at + inputs * PANEL
            chunk = (panel * rows + row) * PANEL
            multiply_transposed(
                scratch, weight_hh, h, row * width, width, dgates, chunk, count, hidden, PANEL,
                row > 0,
            )  # fmt: skip
            if one_hot:
                embedding_backward(scratch, at, dgates, panel * rows * PANEL, ids, row, row + count)
            else:
                start = x_offset + row * x_width
                multiply_transposed(
                    scratch, at, x, start, x_width, dgates, chunk, count, inputs, PANEL, row > 0
                )  # fmt: skip
            add_row_sum(scratch, weight_hh + hidden * PANEL, dgates, chunk, count)
