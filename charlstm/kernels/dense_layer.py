"""The dense-input layer over a whole sequence: the two entries behind `charlstm.LSTM`.

The model's layers above the first run on the same kernels, in the same order: pack the
weights, add the input's part for all time steps at once, run the recurrence.
"""

from typing import NamedTuple

import numpy as np

from charlstm.kernels.jit import cached_njit
from charlstm.kernels.lstm import dense_backward, dense_forward, lstm_backward, lstm_forward
from charlstm.kernels.matmul import pack_panel_transposed, pack_panels, unpack_panel
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.vector import flat
from charlstm.kernels.weight_gradients import layer_gradients


class LayerWeights(NamedTuple):
    """A layer's parameters, or their gradients, in the compute layout; I inputs."""

    weight_ih: np.ndarray  # (I, 4H)
    weight_hh: np.ndarray  # (H, 4H)
    bias: np.ndarray  # (4H,)


class PackedLayer(NamedTuple):
    """The weights in panels, made anew in every call; P panels of units, Q of I, R of H."""

    weight_ih: np.ndarray  # (P, I, PANEL)
    weight_hh: np.ndarray  # (P, H, PANEL)
    bias: np.ndarray  # (P, PANEL)
    weight_ih_t: np.ndarray  # (Q, P * PANEL, PANEL)
    weight_hh_t: np.ndarray  # (R, P * PANEL, PANEL)
    scratch: np.ndarray  # (I + H + 1, PANEL): one panel's gradients


class LayerActivations(NamedTuple):
    """All time steps of a forward pass; X is I, and W is H, in whole lanes."""

    x: np.ndarray  # (T, B, X)
    gates: np.ndarray  # (P, T, B, PANEL)
    h: np.ndarray  # (T + 1, B, W)
    c: np.ndarray  # (T + 1, B, W)
    tanh_c: np.ndarray  # (T, B, W)
    sums: np.ndarray  # (B, PANEL): one panel of W_hh h_{t-1}


@cached_njit
def layer_forward(steps, weights, packed):
    """Run the layer over `x` from h[0] and c[0]; all else in `steps` is overwritten."""
    panels, inputs, _ = packed.weight_ih.shape
    hidden = packed.weight_hh.shape[1]
    weight_ih, weight_hh, bias = flat(packed.weight_ih), flat(packed.weight_hh), flat(packed.bias)
    gated = hidden, True, 0, panels
    pack_panels(weight_ih, 0, inputs * PANEL, flat(weights.weight_ih), 0, inputs, *gated)
    pack_panels(weight_hh, 0, hidden * PANEL, flat(weights.weight_hh), 0, hidden, *gated)
    pack_panels(bias, 0, PANEL, weights.bias, 0, 1, *gated)
    streams = steps.h.shape[1]
    dense_forward(steps.gates, steps.x, 0, packed.weight_ih, 0, streams)
    no_table, no_ids = packed.weight_ih, np.empty((0, 0), np.int32)
    lstm_forward(
        steps.gates, steps.c, steps.tanh_c, steps.h, steps.sums,
        packed.weight_hh, no_table, no_ids, False, packed.bias, 0, streams,
    )  # fmt: skip


@cached_njit
def layer_backward(gradients, dx, dgates, dh, dc, dy, steps, weights, packed):
    """Undo `layer_forward`: overwrite `gradients`, `dx` (T, B, X) and `dgates`.

    On entry `dgates` is a copy of the gates; `dy` (T + 1, B, W) holds the gradients of
    h[1:]. `dh` and `dc` (B, W) go from the gradients of the final state, beside `dy`, to
    those of h[0] and c[0].
    """
    panels, inputs, _ = packed.weight_ih.shape
    hidden = packed.weight_hh.shape[1]
    size = panels * PANEL * PANEL
    weight_ih, weight_hh = flat(packed.weight_ih_t), flat(packed.weight_hh_t)
    for q in range(packed.weight_ih_t.shape[0]):
        matrix = flat(weights.weight_ih)
        pack_panel_transposed(weight_ih, q * size, matrix, 0, inputs, hidden, True, q)
    for r in range(packed.weight_hh_t.shape[0]):
        matrix = flat(weights.weight_hh)
        pack_panel_transposed(weight_hh, r * size, matrix, 0, hidden, hidden, True, r)
    streams = steps.h.shape[1]
    lstm_backward(dgates, dh, dc, dy, steps.c, steps.tanh_c, packed.weight_hh_t, 0, streams)
    dense_backward(dx, 0, dgates, packed.weight_ih_t, 0, streams)
    x, h, scratch = flat(steps.x), flat(steps.h), flat(packed.scratch)
    rows = steps.x.shape[0] * streams
    no_ids, no_symbols = np.empty(0, np.int32), np.empty(0, np.bool_)
    for p in range(panels):
        layer_gradients(
            scratch, flat(dgates), rows, p, p + 1, h, steps.h.shape[2], hidden,
            x, 0, steps.x.shape[2], inputs, no_ids, no_symbols, False,
        )  # fmt: skip
        at = inputs * PANEL
        unpack_panel(flat(gradients.weight_ih), 0, scratch, 0, inputs, hidden, True, p)
        unpack_panel(flat(gradients.weight_hh), 0, scratch, at, hidden, hidden, True, p)
        at += hidden * PANEL
        unpack_panel(gradients.bias, 0, scratch, at, 1, hidden, True, p)
