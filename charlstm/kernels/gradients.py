"""Weight gradients: sums over all time steps and streams, one panel at a time.

Every sum runs over the rows (t, b) in order, whoever owns the panel. A chunk of dgates is
read once from memory, for all that is made of it.
"""

from charlstm.kernels.compiler import kernel
from charlstm.kernels.embedding import embedding_backward
from charlstm.kernels.product import CHUNK, add_row_sum, add_transposed, fill
from charlstm.kernels.tile import PANEL


@kernel
def layer_gradients(
    scratch, dgates, rows, first, last, h, width, hidden, x, x_offset, x_width, inputs, ids,
    one_hot,
):  # fmt: skip
    """Set `scratch` to the gradients of one layer's panels first..last; arrays are flat.

    For each panel it holds `inputs` rows of weight_ih, then `hidden` rows of weight_hh,
    then the bias, each row PANEL long. The layer read `ids` where its input is `one_hot`,
    else `x`, rows (t, b) of `x_width` elements from `x_offset` on. Several panels at a
    time share what is read of h and x.
    """
    size = (inputs + hidden + 1) * PANEL
    fill(scratch, 0, (last - first) * size, 0)
    for row in range(0, rows, CHUNK):
        count = min(CHUNK, rows - row)
        for panel in range(first, last):
            at = (panel - first) * size
            weight_hh = at + inputs * PANEL
            chunk = (panel * rows + row) * PANEL
            add_row_sum(scratch, weight_hh + hidden * PANEL, dgates, chunk, count)
            add_transposed(
                scratch, weight_hh, h, row * width, width, dgates, chunk, count, hidden, PANEL
            )
            if one_hot:
                embedding_backward(scratch, at, dgates, panel * rows * PANEL, ids, row, row + count)
            else:
                start = x_offset + row * x_width
                add_transposed(scratch, at, x, start, x_width, dgates, chunk, count, inputs, PANEL)
