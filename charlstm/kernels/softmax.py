"""The output layer's nonlinearity: softmax, cross-entropy and its gradient in one pass.

`logits` are panels (R, T, B, PANEL); `column_panel` says which symbols each holds. For one
character with target y:

    loss = log(sum_v exp(logits_v)) - logits_y                    nats
    dloss/dlogits_v = softmax(logits)_v - (v == y)
"""

import numpy as np

from charlstm.kernels.activations import exp
from charlstm.kernels.array_views import flat
from charlstm.kernels.jit import inline_jitable, jitable
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.panel_layout import column_panel, locate_column
from charlstm.kernels.simd import (
    LANES,
    load,
    max_lanes,
    maximum,
    replace_lanes,
    splat,
    store,
    sum_lanes,
)


@inline_jitable
def panel_range(panel, row, rows, symbols):
    """Return where the logits of row number `row` of `rows` in a panel start and end."""
    start = (panel * rows + row) * PANEL
    return start, start + column_panel(panel, symbols)[1]


@jitable
def cross_entropy_row(logits, row, rows, symbols, target, scale, train):
    """Return the loss in nats of one row (t, b); to `train`, logits become dlogits.

    `logits` (R, T, B, PANEL): of row number `row` of `rows` (T * B), if `train`, the logits of
    the `symbols` (V) are overwritten by dlogits times `scale`. `target` is the symbol to
    predict. The padding of the last panel's last vector, whatever it holds, counts for
    nothing: it becomes -inf, whose exponential is 0, and to train 0.
    """
    minus_infinity = splat(logits, -np.inf)
    last = logits.shape[0] - 1
    start, end = panel_range(last, row, rows, symbols)
    final = end - (end - start - 1) % LANES - 1  # where that vector starts
    store(logits, final, replace_lanes(load(logits, final), end - final, minus_infinity))
    highest = minus_infinity
    for panel in range(logits.shape[0]):
        start, end = panel_range(panel, row, rows, symbols)
        for offset in range(start, end, LANES):
            highest = maximum(highest, load(logits, offset))
    shift = max_lanes(highest)
    scores = flat(logits)
    panel, column = locate_column(target, symbols)
    target_index = (panel * rows + row) * PANEL + column
    target_logit = scores[target_index]
    total = splat(logits, 0)
    for panel in range(logits.shape[0]):
        start, end = panel_range(panel, row, rows, symbols)
        for offset in range(start, end, LANES):
            power = exp(load(logits, offset) - shift)
            total = total + power
            if train:
                store(logits, offset, power)
    sum_exp = sum_lanes(total)
    loss = np.log(sum_exp) + (shift - target_logit)
    if train:
        factor = splat(logits, scale) / splat(logits, sum_exp)
        for panel in range(logits.shape[0]):
            start, end = panel_range(panel, row, rows, symbols)
            for offset in range(start, end, LANES):
                store(logits, offset, load(logits, offset) * factor)
        scores[target_index] -= scale
    return loss
