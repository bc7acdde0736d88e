"""The dense-input layer over a whole sequence: the two entries behind `charlstm.LSTM`.

The model's layers above the first run on the same kernels, in the same order: pack the
weights, add the input's part for all time steps at once, run the recurrence. X below is I in
whole lanes, and W is H in whole lanes.
"""

from typing import NamedTuple

import numpy as np

from charlstm.kernels.array_views import flat
from charlstm.kernels.jit import cached_njit
from charlstm.kernels.lstm import dense_backward, dense_forward, lstm_backward, lstm_forward
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.packing import Matrix, pack_panel_transposed, pack_panels, unpack_panel
from charlstm.kernels.row_pairs import Features
from charlstm.kernels.weight_gradients import dense_layer_gradients


class LayerWeights(NamedTuple):
    """A layer's parameters, or their gradients, in the compute layout; I inputs."""

    weight_ih: np.ndarray  # (I, 4H)
    weight_hh: np.ndarray  # (H, 4H)
    bias: np.ndarray  # (4H,)


class PackedLayer(NamedTuple):
    """The weights in panels, repacked every call; P panels of units, Q of I, R of H."""

    weight_ih: np.ndarray  # (P, I, PANEL)
    weight_hh: np.ndarray  # (P, H, PANEL)
    bias: np.ndarray  # (P, PANEL)
    weight_ih_t: np.ndarray  # (Q, P * PANEL, PANEL)
    weight_hh_t: np.ndarray  # (R, P * PANEL, PANEL)
    scratch: np.ndarray  # (I + H + 1, PANEL): one panel's gradients


@cached_njit
def layer_forward(activations, x, weights, packed):
    """Run the layer over a sequence.

    `activations` (LayerActivations) is overwritten, but for h[0] and c[0], the carried-in
    state. `x` is (T, B, X); `weights` (LayerWeights) are packed into `packed` (PackedLayer).
    """
    panels, inputs, _ = packed.weight_ih.shape
    hidden = packed.weight_hh.shape[1]
    weight_ih = Matrix(flat(weights.weight_ih), 0, inputs, hidden, True)
    weight_hh = Matrix(flat(weights.weight_hh), 0, hidden, hidden, True)
    bias = Matrix(flat(weights.bias), 0, 1, hidden, True)
    pack_panels(flat(packed.weight_ih), 0, inputs * PANEL, weight_ih, 0, panels)
    pack_panels(flat(packed.weight_hh), 0, hidden * PANEL, weight_hh, 0, panels)
    pack_panels(flat(packed.bias), 0, PANEL, bias, 0, panels)
    streams = x.shape[1]
    dense_forward(activations.gates, x, 0, packed.weight_ih, 0, streams)
    lstm_forward(activations, packed.weight_hh, packed.bias, None, 0, streams)


@cached_njit
def layer_backward(gradients, dx, dh, dc, dy, activations, x, weights, packed):
    """Undo `layer_forward`.

    `gradients` (LayerWeights) and `dx` (T, B, X) are overwritten, and the gates of
    `activations` by dgates. `dh` and `dc` (B, W) go from the gradients of the final state,
    beside `dy`, to those of h[0] and c[0]. `dy` (T + 1, B, W) holds the gradients of h[1:].
    `x`, `weights` and `packed` are those of the forward pass.
    """
    panels, inputs, _ = packed.weight_ih.shape
    hidden = packed.weight_hh.shape[1]
    size = panels * PANEL * PANEL
    for q in range(packed.weight_ih_t.shape[0]):
        weight = Matrix(flat(weights.weight_ih), 0, inputs, hidden, True)
        pack_panel_transposed(flat(packed.weight_ih_t), q * size, weight, q)
    for r in range(packed.weight_hh_t.shape[0]):
        weight = Matrix(flat(weights.weight_hh), 0, hidden, hidden, True)
        pack_panel_transposed(flat(packed.weight_hh_t), r * size, weight, r)
    steps, streams, width = x.shape
    lstm_backward(activations, dh, dc, dy, packed.weight_hh_t, 0, streams)
    dense_backward(dx, 0, activations.gates, packed.weight_ih_t, 0, streams)
    features = Features(flat(x), 0, width, inputs)
    h = Features(flat(activations.h), 0, activations.h.shape[2], hidden)
    dgates, scratch = flat(activations.gates), flat(packed.scratch)
    weight_ih = Matrix(flat(gradients.weight_ih), 0, inputs, hidden, True)
    weight_hh = Matrix(flat(gradients.weight_hh), 0, hidden, hidden, True)
    bias = Matrix(flat(gradients.bias), 0, 1, hidden, True)
    for p in range(panels):
        dense_layer_gradients(
            scratch, scratch, dgates, dgates, steps * streams, features, h, p, p + 1
        )
        unpack_panel(weight_ih, p, scratch, 0)
        unpack_panel(weight_hh, p, scratch, inputs * PANEL)
        unpack_panel(bias, p, scratch, (inputs + hidden) * PANEL)
