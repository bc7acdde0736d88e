"""The one-hot input: reading the column U[:, x] replaces a matrix product.

With x one-hot, W_ih x is one column of W_ih (one row of its transpose, the compute
layout). The forward pass reads that row; the backward pass adds the gradient of the
gates to it.
"""

from typing import NamedTuple

import numpy as np

from charlstm.kernels.jit import inline_jitable, jitable
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.simd import LANES, load, store


class Embedding(NamedTuple):
    """The table that a model's first layer reads its input from, and where."""

    table: np.ndarray  # (P, V, PANEL): the packed transpose of W_ih
    ids: np.ndarray  # (T, B)
    is_read: bool  # by this layer; the others' inputs are dense


@inline_jitable
def embedding_offset(embedding, panel, t, b):
    """Return the flat offset of table[panel, ids[t, b]], which is W_ih x_t."""
    return (panel * embedding.table.shape[1] + embedding.ids[t, b]) * PANEL


@jitable
def embedding_backward(dtable, dtable_offset, dgates, offset, ids, first, last):
    """Add the dgates of the rows first..last, (t, b) in order, to the table rows they read.

    All arrays are flat. One panel of the table's gradient, (V, PANEL) from `dtable_offset` on
    of `dtable`, is added to. The panel's dgates of these rows are those of `dgates` from
    `offset` on, row `first` at `offset`. `ids` (T * B,) are the inputs.
    """
    for row in range(first, last):
        target, source = dtable_offset + ids[row] * PANEL, offset + (row - first) * PANEL
        for group in range(0, PANEL, LANES):
            total = load(dtable, target + group) + load(dgates, source + group)
            store(dtable, target + group, total)
