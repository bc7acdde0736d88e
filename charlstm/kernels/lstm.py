"""One LSTM layer through time: the cell, the recurrence, and the dense input.

Equations (Hochreiter & Schmidhuber 1997; gate order and layout of PyTorch), for one
unit at one time step, with z the sums before the nonlinearity:

    z_i, z_f, z_g, z_o = W_ih x_t + W_hh h_{t-1} + bias                         (1)
    i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o);   g = tanh(z_g)         (2)
    c_t = f c_{t-1} + i g                                                       (3)
    h_t = o tanh(c_t)                                                           (4)

Layouts (W = H rounded up to whole vectors of LANES, P = W / LANES panels):
`gates` (P, T, B, PANEL), a panel holding i, f, g, o of LANES units; `h`, `c` (T+1, B, W),
row 0 the carried-in state; `tanh_c` (T, B, W). A call works on the streams
first..last only: streams never meet, so threads own them.
"""

from typing import NamedTuple

import numpy as np

from charlstm.kernels.activations import sigmoids, tanh, tanh_and_sigmoid
from charlstm.kernels.array_views import flat
from charlstm.kernels.embedding import embedding_offset
from charlstm.kernels.jit import inline_jitable, inlined_njit
from charlstm.kernels.matmul import (
    Input,
    Output,
    Panel,
    multiply_panel,
    multiply_rows,
    run_length,
    split_evenly,
)
from charlstm.kernels.microkernel import PANEL, tile_shape
from charlstm.kernels.operands import numbers_per_element, store_operand
from charlstm.kernels.simd import LANES, load, store

PART_ROWS = 96  # of a part of the products over all T; see `row_runs`


class LayerActivations(NamedTuple):
    """All time steps of a layer's forward pass; layouts above."""

    gates: np.ndarray  # (P, T, B, PANEL)
    h: np.ndarray  # (T + 1, B, W)
    c: np.ndarray  # (T + 1, B, W)
    tanh_c: np.ndarray  # (T, B, W)
    sums: np.ndarray  # (B, PANEL), scratch: one panel of W_hh h_{t-1}
    h_operand: np.ndarray  # h as products read it: itself, or its pairs (T + 1, B, W / 2)
    dgates: np.ndarray  # gates, or the pairs (P, T, B, PANEL / 2) of the dgates they become


@inline_jitable
def cell_forward(activations, bias, embedding, panel, t, first, last):
    """Equations (1) to (4) for one panel at one step.

    `activations` (LayerActivations) is read at h[t], c[t] and `sums`, which holds W_hh h_{t-1}, and
    overwritten at gates[:, t], c[t + 1], tanh_c[t], h[t + 1] and h_operand[t + 1]. `bias` is
    (P, PANEL).
    `embedding` (Embedding, or None for none) holds W_ih x_t if this layer reads it; else it is
    in the gates.
    """
    gates, h, c, tanh_c, sums, h_operand, _ = activations
    _, steps, streams, _ = gates.shape
    width = h.shape[2]
    if embedding is None:
        reads_ids, below = False, flat(gates)
    else:
        reads_ids = embedding.is_read
        below = flat(embedding.table) if reads_ids else flat(gates)
    bias_i, bias_f = load(bias, panel * PANEL), load(bias, panel * PANEL + LANES)
    bias_g, bias_o = load(bias, panel * PANEL + 2 * LANES), load(bias, panel * PANEL + 3 * LANES)
    for b in range(first, last):
        z = ((panel * steps + t) * streams + b) * PANEL
        before_offset = (t * streams + b) * width + panel * LANES
        after_offset = before_offset + streams * width
        source = z
        if embedding is not None and reads_ids:
            source = embedding_offset(embedding, panel, t, b)
        row = b * PANEL
        z_i = load(below, source) + load(sums, row) + bias_i
        z_f = load(below, source + LANES) + load(sums, row + LANES) + bias_f
        z_g = load(below, source + 2 * LANES) + load(sums, row + 2 * LANES) + bias_g
        z_o = load(below, source + 3 * LANES) + load(sums, row + 3 * LANES) + bias_o
        i, f = sigmoids(z_i, z_f)
        g, o = tanh_and_sigmoid(z_g, z_o)
        c_t = f * load(c, before_offset) + i * g
        tanh_c_t = tanh(c_t)
        store(gates, z, i)
        store(gates, z + LANES, f)
        store(gates, z + 2 * LANES, g)
        store(gates, z + 3 * LANES, o)
        store(c, after_offset, c_t)
        store(tanh_c, before_offset, tanh_c_t)
        h_t = o * tanh_c_t
        store(h, after_offset, h_t)
        if numbers_per_element(h_operand) > 1:
            store_operand(h_operand, after_offset, h_t)


@inline_jitable
def cell_backward(activations, dc, dy, dh, panel, t, first, last):
    """Undo equations (4) to (2) for one panel at one step.

    `activations` (LayerActivations): gates[:, t] become dgates, and dgates[:, t] what products
    read of these. `dc` (B, W) is the part of c_t's gradient that comes from the next step, and is
    overwritten by the part of c_{t-1}'s that comes from this one. `dy` (T + 1, B, W) and `dh`
    (B, W) are the parts of h_t's gradient that come from above and from the next step.
    """
    gates, c, tanh_c = activations.gates, activations.c, activations.tanh_c
    dgates = activations.dgates
    _, steps, streams, _ = gates.shape
    width = c.shape[2]
    for b in range(first, last):
        z = ((panel * steps + t) * streams + b) * PANEL
        state_offset = b * width + panel * LANES
        before_offset = t * streams * width + state_offset
        i = load(gates, z)
        f = load(gates, z + LANES)
        g = load(gates, z + 2 * LANES)
        o = load(gates, z + 3 * LANES)
        tanh_c_t = load(tanh_c, before_offset)
        dh_t = load(dy, before_offset + streams * width) + load(dh, state_offset)
        dc_t = load(dc, state_offset) + dh_t * o * (1.0 - tanh_c_t * tanh_c_t)  # (4)
        dz_i = dc_t * g * i * (1.0 - i)  # (3), (2)
        dz_f = dc_t * load(c, before_offset) * f * (1.0 - f)
        dz_g = dc_t * i * (1.0 - g * g)
        dz_o = dh_t * tanh_c_t * o * (1.0 - o)
        store(gates, z, dz_i)
        store(gates, z + LANES, dz_f)
        store(gates, z + 2 * LANES, dz_g)
        store(gates, z + 3 * LANES, dz_o)
        if numbers_per_element(dgates) > 1:
            store_operand(dgates, z, dz_i)
            store_operand(dgates, z + LANES, dz_f)
            store_operand(dgates, z + 2 * LANES, dz_g)
            store_operand(dgates, z + 3 * LANES, dz_o)
        store(dc, state_offset, dc_t * f)


@inlined_njit
def lstm_forward(activations, weight_hh, bias, embedding, first, last):
    """Run the recurrence over all T.

    `activations` (LayerActivations) is overwritten: gates (activated), c[1:], tanh_c, h[1:], sums,
    and h_operand. `weight_hh` (P, H, PANEL) and `bias` (P, PANEL) are packed. W_ih x_t comes
    from `embedding` (Embedding, or None for none) if this layer reads it; else it is what
    `dense_forward` left in the gates.
    """
    panels, steps, streams, _ = activations.gates.shape
    width = activations.h_operand.shape[2]
    k = weight_hh.shape[1]
    sums, h, weight = flat(activations.sums), flat(activations.h_operand), flat(weight_hh)
    tile_rows, _ = tile_shape(h)
    if numbers_per_element(h) > 1:  # the carried-in state
        state_width = activations.h.shape[2]
        for i in range(first * state_width, last * state_width, LANES):
            store_operand(h, i, load(activations.h, i))
    tiles, size, remainder = split_evenly(last - first, tile_rows)
    for t in range(steps):
        for index in range(panels):
            p = index if t % 2 == 0 else panels - 1 - index  # the last one is still in a cache
            b = first
            for tile in range(tiles):
                rows = size + 1 if tile < remainder else size
                multiply_rows(  # (1)
                    Output(sums, b * PANEL, PANEL),
                    Input(h, (t * streams + b) * width, width, 1, 0),
                    Panel(weight, p * k * PANEL, k, 1), rows, PANEL, False,
                )  # fmt: skip
                cell_forward(activations, bias, embedding, p, t, b, b + rows)
                b += rows


@inlined_njit
def lstm_backward(activations, dh, dc, dy, weight_hh, first, last):
    """Run the recurrence back over all T; T steps give the bits of T calls of one step.

    `activations` (LayerActivations): gates are overwritten by dgates, and dgates by what products
    read of these. `dh` and `dc` (B, W) are the parts of the gradients of h[T] and c[T] that come
    from later steps, and are overwritten by the gradients of h[0] and c[0]. `dy` (T + 1, B, W)
    holds the gradients that h[1:] get from above.
    `weight_hh` (Q, P * PANEL, PANEL) is packed by `pack_panel_transposed`.
    """
    panels, steps, streams, _ = activations.gates.shape
    width = dh.shape[1]
    columns, k, _ = weight_hh.shape
    dh_flat, dgates, weight = flat(dh), flat(activations.dgates), flat(weight_hh)
    run = run_length(dgates)
    for t in range(steps - 1, -1, -1):
        for p in range(panels):
            cell_backward(activations, dc, dy, dh, p, t, first, last)
        for index in range(columns):  # (1): dh_{t-1} = dgates_t W_hh
            q = index if t % 2 == 0 else columns - 1 - index
            multiply_panel(
                Output(dh_flat, first * width + q * PANEL, width),
                Input(dgates, (t * streams + first) * run, run, 1, steps * streams * run),
                Panel(weight, q * k * PANEL, run, panels),
                last - first, min(PANEL, width - q * PANEL), False,
            )  # fmt: skip


@inline_jitable
def row_runs(steps, streams, first, last):
    """Return how many runs of rows (t, b) a shard has, a run's rows, and the parts of a run.

    The arguments are T, B and the shard's streams. A shard with all streams has one run of
    T * B rows. A part's rows stay in the L2 cache while all panels of the weights pass.
    """
    runs, rows = (1, steps * streams) if last - first == streams else (steps, last - first)
    return runs, rows, (rows + PART_ROWS - 1) // PART_ROWS


@inlined_njit
def dense_forward(gates, x, x_offset, weight_ih, first, last):
    """Compute W_ih x_t for all T at once, the input's part of equation (1).

    `gates` (P, T, B, PANEL) are overwritten. `x` (rows, B, X), an operand array, holds the row
    (t, b) = (0, 0) from the flat `x_offset` on; `weight_ih` (P, I, PANEL) is packed.
    """
    panels, steps, streams, _ = gates.shape
    width = x.shape[2]
    k = weight_ih.shape[1]
    runs, rows, parts = row_runs(steps, streams, first, last)
    sums, features, weight = flat(gates), flat(x), flat(weight_ih)
    for part in range(runs * parts):
        t, start = part // parts, part % parts
        row = t * streams + first + rows * start // parts
        count = t * streams + first + rows * (start + 1) // parts - row
        for p in range(panels):
            multiply_panel(
                Output(sums, (p * steps * streams + row) * PANEL, PANEL),
                Input(features, x_offset + row * width, width, 1, 0),
                Panel(weight, p * k * PANEL, k, 1), count, PANEL, False,
            )  # fmt: skip


@inlined_njit
def dense_backward(dx, dx_offset, dgates, weight_ih, first, last):
    """Compute the gradients of x for all T at once, undoing `dense_forward`.

    `dx` (rows, B, X) is overwritten, the row (t, b) = (0, 0) from the flat `dx_offset` on;
    `dgates`, an operand array, is (P, T, B, PANEL), and `weight_ih` (Q, P * PANEL, PANEL) is
    packed by `pack_panel_transposed`.
    """
    panels, steps, streams, _ = dgates.shape
    width = dx.shape[2]
    k, run = weight_ih.shape[1], run_length(dgates)
    runs, rows, parts = row_runs(steps, streams, first, last)
    out, gradients, weight = flat(dx), flat(dgates), flat(weight_ih)
    for part in range(runs * parts):
        t, start = part // parts, part % parts
        row = t * streams + first + rows * start // parts
        count = t * streams + first + rows * (start + 1) // parts - row
        for q in range(weight_ih.shape[0]):
            multiply_panel(
                Output(out, dx_offset + row * width + q * PANEL, width),
                Input(gradients, row * run, run, 1, steps * streams * run),
                Panel(weight, q * k * PANEL, run, panels),
                count, min(PANEL, width - q * PANEL), False,
            )  # fmt: skip
