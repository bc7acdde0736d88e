"""The output layer's nonlinearity: softmax, cross-entropy and its gradient in one pass.

`logits` are panels (R, T, B, PANEL); `plain_panel` says which symbols each holds. For one
character with target y:

    loss = log(sum_v exp(logits_v)) - logits_y                    nats
    dloss/dlogits_v = softmax(logits)_v - (v == y)
"""

import numpy as np

from charlstm.kernels.compiler import inline_kernel, kernel
from charlstm.kernels.elementary import exp
from charlstm.kernels.product import plain_panel, plain_place
from charlstm.kernels.tile import PANEL
from charlstm.kernels.vector import (
    LANES,
    flat,
    load,
    max_lanes,
    maximum,
    replace_lanes,
    splat,
    store,
    sum_lanes,
)


@inline_kernel
def panel_span(panel, row, rows, symbols):
    """Return where a row's logits in a panel start and end."""
    start = (panel * rows + row) * PANEL
    return start, start + plain_panel(panel, symbols)[1]


@kernel
def cross_entropy_row(logits, row, rows, symbols, target, scale, train):
    """Return the loss in nats of one row (t, b); with `train`, logits become dlogits.

    dlogits are multiplied by `scale`. The padding of the last panel's last vector, whatever
    it holds, counts for nothing: it becomes -inf, whose exponential is 0, and with `train` 0.
    """
    minus_infinity = splat(logits, -np.inf)
    last = logits.shape[0] - 1
    start, end = panel_span(last, row, rows, symbols)
    final = end - (end - start - 1) % LANES - 1  # where that vector starts
    store(logits, final, replace_lanes(load(logits, final), end - final, minus_infinity))
    highest = minus_infinity
    for panel in range(logits.shape[0]):
        start, end = panel_span(panel, row, rows, symbols)
        for offset in range(start, end, LANES):
            highest = maximum(highest, load(logits, offset))
    shift = max_lanes(highest)
    scores = flat(logits)
    panel, column = plain_place(target, symbols)
    chosen = (panel * rows + row) * PANEL + column
    wanted = scores[chosen]
    total = splat(logits, 0)
    for panel in range(logits.shape[0]):
        start, end = panel_span(panel, row, rows, symbols)
        for offset in range(start, end, LANES):
            power = exp(load(logits, offset) - shift)
            total = total + power
            if train:
                store(logits, offset, power)
    normaliser = sum_lanes(total)
    loss = np.log(normaliser) + (shift - wanted)
    if train:
        factor = splat(logits, scale) / splat(logits, normaliser)
        for panel in range(logits.shape[0]):
            start, end = panel_span(panel, row, rows, symbols)
            for offset in range(start, end, LANES):
                store(logits, offset, load(logits, offset) * factor)
        scores[chosen] -= scale
    return loss
