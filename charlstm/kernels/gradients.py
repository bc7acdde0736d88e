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
    scratch, dgates, rows, panel, h, width, hidden, x, x_offset, x_width, inputs, ids, one_hot
):  # fmt: skip
    """Set `scratch` to one panel's gradients of one layer; arrays are flat.

    It holds `inputs` rows of weight_ih, from row 0, then `hidden` rows of weight_hh, then
    the bias, each row PANEL long. The layer read `ids` where its input is `one_hot`, else
    `x`, rows (t, b) of `x_width` elements from `x_offset` on.
    """
    at = panel * rows * PANEL
    weight_hh, bias = inputs * PANEL, (inputs + hidden) * PANEL
    fill(scratch, 0, bias + PANEL, 0)
    for row in range(0, rows, CHUNK):
        count, chunk = min(CHUNK, rows - row), at + row * PANEL
        add_row_sum(scratch, bias, dgates, chunk, count)
        add_transposed(
            scratch, weight_hh, h, row * width, width, dgates, chunk, count, hidden, PANEL
        )
        if one_hot:
            embedding_backward(scratch, dgates, at, ids, row, row + count)
        else:
            start = x_offset + row * x_width
            add_transposed(scratch, 0, x, start, x_width, dgates, chunk, count, inputs, PANEL)
