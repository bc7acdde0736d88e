"""The one-hot input: reading the column U[:, x] replaces a matrix product.

With x one-hot, W_ih x is one column of W_ih (one row of its transpose, the compute
layout). The forward pass reads that row; the backward pass adds the gradient of the
gates to it. `table` (P, V, PANEL) is the packed transpose of W_ih.
"""

from charlstm.kernels.jit import inline_jitable, jitable
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.vector import LANES, load, store


@inline_jitable
def embedding_offset(table, inputs, panel, t, b):
    """Return the place of table[panel, inputs[t, b]], W_ih x_t, to be read there."""
    return (panel * table.shape[1] + inputs[t, b]) * PANEL


@jitable
def embedding_backward(dtable, dtable_offset, dgates, offset, ids, first, last):
    """Add a panel's dgates of the rows first..last, (t, b) in order, to the rows they read.

    Arrays are flat: `dtable` (V, PANEL) and the panel of `dgates` from their offsets on.
    """
    for row in range(first, last):
        target, source = dtable_offset + ids[row] * PANEL, offset + row * PANEL
        for group in range(0, PANEL, LANES):
            total = load(dtable, target + group) + load(dgates, source + group)
            store(dtable, target + group, total)
