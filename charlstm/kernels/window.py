"""One window of truncated BPTT: pack the weights, forward, loss, backward, gradients.

Three phases, each split over shards that share nothing. Packing and weight gradients
are split by panels (columns of the weights), forward and backward by streams. No sum
crosses a shard, so no result depends on how many there are.
"""

from typing import NamedTuple

import numba
import numpy as np

from charlstm.kernels.dropout import apply_dropout
from charlstm.kernels.jit import (
    cached_njit,
    cached_parallel_njit,
    call_pointer,
    function_pointer,
    inlined_njit,
    jitable,
)
from charlstm.kernels.lstm import dense_backward, dense_forward, lstm_backward, lstm_forward
from charlstm.kernels.matmul import (
    VECTORS_PER_PANEL,
    add_row_sum,
    column_panel,
    fill,
    multiply_panel,
    multiply_transposed,
    set_rows,
    unpack_panel,
    whole_vectors,
)
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.packing import pack_shard
from charlstm.kernels.softmax import cross_entropy_row
from charlstm.kernels.vector import flat
from charlstm.kernels.weight_gradients import layer_gradients

FORWARD, LOSS, TRAIN = 0, 1, 2
PACK, STREAMS, GRADIENTS, ALL = 0, 1, 2, 3  # the phases; GRADIENTS to train only


class Workspace(NamedTuple):
    """What a window's forward pass leaves for its backward pass; W is H in whole lanes."""

    gates: np.ndarray  # (L, P, T, B, PANEL): gates, then dgates in their place
    h: np.ndarray  # (L, T + 1, B, W)
    c: np.ndarray  # (L, T + 1, B, W)
    tanh_c: np.ndarray  # (L, T, B, W)
    x: np.ndarray  # (L, T + 1, B, W): h after dropout; the same array as h without
    logits: np.ndarray  # (R, T, B, PANEL): logits, then dlogits in their place
    losses: np.ndarray  # (T, B): nats
    dy: np.ndarray  # (L, T + 1, B, W): gradients of h from the layer above
    dh: np.ndarray  # (L, B, W)
    dc: np.ndarray  # (L, B, W)
    sums: np.ndarray  # (B, PANEL): one panel of W_hh h_{t-1}
    scratch: np.ndarray  # (shards, >= max(H, V) + H + 1, PANEL): some panels' gradients


@inlined_njit
def forward_shard(packed, work, inputs, dropout, first, last):
    """Run all layers and the output layer forward for streams first..last."""
    layers, _, streams, width = work.h.shape
    for layer in range(layers):
        gates = work.gates[layer]
        if layer > 0:
            below = work.x[layer - 1]
            dense_forward(gates, below, streams * width, packed.weight_ih[layer - 1], first, last)
        lstm_forward(
            gates, work.c[layer], work.tanh_c[layer], work.h[layer], work.sums,
            packed.weight_hh[layer], packed.table, inputs, layer == 0, packed.bias[layer],
            first, last,
        )  # fmt: skip
        if dropout.threshold > 0:
            apply_dropout(work.x[layer], work.h[layer], layer, dropout, first, last)
    head_forward(work.logits, work.x[layers - 1], packed, first, last)


@inlined_njit
def head_forward(logits, x, packed, first, last):
    """Set the logits to head.weight x_t + head.bias for all T."""
    columns, steps, streams, _ = logits.shape
    width = x.shape[2]
    hidden = packed.head.shape[1]
    symbols = packed.table.shape[1]
    out, features = flat(logits), flat(x)
    head, head_bias = flat(packed.head), flat(packed.head_bias)
    for r in range(columns):
        _, count = column_panel(r, symbols)
        for t in range(steps):
            start = ((r * steps + t) * streams + first) * PANEL
            set_rows(out, start, last - first, head_bias, r * PANEL)
            multiply_panel(
                out, start, PANEL, features, ((t + 1) * streams + first) * width, width, 1, 0,
                head, r * hidden * PANEL, hidden, 1, last - first, whole_vectors(count), True,
            )  # fmt: skip


@jitable
def loss_shard(work, targets, symbols, train, first, last):
    """Set losses[t, b] in nats; to train, turn logits into gradients of the mean loss."""
    _, steps, streams, _ = work.logits.shape
    rows = steps * streams
    scale = work.losses.dtype.type(1.0 / rows if train else 0.0)
    for t in range(steps):
        for b in range(first, last):
            work.losses[t, b] = cross_entropy_row(
                work.logits, t * streams + b, rows, symbols, targets[t, b], scale, train
            )


@inlined_njit
def head_backward(dx, logits, packed, first, last):
    """Set dx[t + 1] to dlogits_t head.weight for all T, undoing `head_forward`."""
    columns, steps, streams, _ = logits.shape
    width = dx.shape[2]
    symbols = packed.table.shape[1]
    rows = steps * streams
    out, dlogits, head = flat(dx), flat(logits), flat(packed.head_t)
    for t in range(steps):
        row = t * streams + first
        for q in range(packed.head_t.shape[0]):
            for r in range(columns):
                _, count = column_panel(r, symbols)
                multiply_panel(
                    out, (row + streams) * width + q * PANEL, width,
                    dlogits, (r * rows + row) * PANEL, PANEL, 1, 0,
                    head, (q * columns + r) * PANEL * PANEL, count, 1,
                    last - first, min(PANEL, width - q * PANEL), r > 0,
                )  # fmt: skip


@inlined_njit
def backward_shard(packed, work, dropout, first, last):
    """Undo `forward_shard`: leave dgates in `gates` and the gradients of h0, c0."""
    layers, _, streams, width = work.h.shape
    top = layers - 1
    head_backward(work.dy[top], work.logits, packed, first, last)
    for layer in range(top, -1, -1):
        dy = work.dy[layer]
        if dropout.threshold > 0:
            apply_dropout(dy, dy, layer, dropout, first, last)
        fill(flat(work.dh[layer]), first * width, (last - first) * width, 0)
        fill(flat(work.dc[layer]), first * width, (last - first) * width, 0)
        lstm_backward(
            work.gates[layer], work.dh[layer], work.dc[layer], dy, work.c[layer],
            work.tanh_c[layer], packed.weight_hh_t[layer], first, last,
        )  # fmt: skip
        if layer > 0:
            weight = packed.weight_ih_t[layer - 1]
            below = work.dy[layer - 1]
            dense_backward(below, streams * width, work.gates[layer], weight, first, last)


@jitable
def gradient_shard(shard, shards, gradients, offsets, packed, work, inputs):
    """Write the weight gradients of the panels that the shard owns."""
    layers, panels, hidden, _ = packed.weight_hh.shape
    _, steps, streams, _ = work.logits.shape
    width = work.h.shape[3]
    symbols = packed.table.shape[1]
    scratch, ids = flat(work.scratch[shard]), flat(inputs)
    start, stop = panels * shard // shards, panels * (shard + 1) // shards
    for layer in range(layers):
        count = symbols if layer == 0 else hidden
        size = (count + hidden + 1) * PANEL
        group = max(1, min(stop - start, scratch.size // size))  # a shard may own none
        ih, hh, bias = offsets[layer]
        for first in range(start, stop, group):
            last = min(stop, first + group)
            layer_gradients(
                scratch, flat(work.gates[layer]), steps * streams, first, last,
                flat(work.h[layer]), width, hidden,
                flat(work.x[max(0, layer - 1)]), streams * width, width, count, ids,
                packed.used if layer == 0 else packed.used[:0], layer == 0,
            )  # fmt: skip
            for p in range(first, last):
                at = (p - first) * size
                if layer == 0:
                    unpack_used(gradients, ih, scratch, at, packed.used, hidden, p)
                else:
                    unpack_panel(gradients, ih, scratch, at, count, hidden, True, p)
                at += count * PANEL
                unpack_panel(gradients, hh, scratch, at, hidden, hidden, True, p)
                at += hidden * PANEL
                unpack_panel(gradients, bias, scratch, at, 1, hidden, True, p)
    head_gradient(shard, shards, gradients, offsets, packed, work)


@jitable
def unpack_used(gradients, offset, scratch, scratch_offset, used, hidden, panel):
    """Do as `unpack_panel` for the rows of the symbols in use: the others' gradients are 0."""
    for symbol in range(used.size):
        if used[symbol]:
            row, source = (
                offset + symbol * VECTORS_PER_PANEL * hidden,
                scratch_offset + symbol * PANEL,
            )
            unpack_panel(gradients, row, scratch, source, 1, hidden, True, panel)


@jitable
def head_gradient(shard, shards, gradients, offsets, packed, work):
    """Write the output layer's gradient: rows of the weight by shard, the bias by panel."""
    layers, _, hidden, _ = packed.weight_hh.shape
    columns, steps, streams, _ = work.logits.shape
    width = work.h.shape[3]
    symbols = packed.table.shape[1]
    rows = steps * streams
    scratch, dlogits = flat(work.scratch[shard]), flat(work.logits)
    x, start = flat(work.x[layers - 1]), streams * width
    first, last = hidden * shard // shards, hidden * (shard + 1) // shards
    owned = last - first
    target, target_bias = offsets[layers, 0] + first * symbols, offsets[layers, 1]
    for r in range(columns):
        _, count = column_panel(r, symbols)
        at = r * rows * PANEL
        multiply_transposed(
            scratch, 0, x, start + first, width, dlogits, at, rows, owned,
            whole_vectors(count), False,
        )  # fmt: skip
        unpack_panel(gradients, target, scratch, 0, owned, symbols, False, r)
        if r % shards == shard:
            fill(scratch, owned * PANEL, PANEL, 0)
            add_row_sum(scratch, owned * PANEL, dlogits, at, rows)
            unpack_panel(gradients, target_bias, scratch, owned * PANEL, 1, symbols, False, r)


@jitable
def window_shard(mode, packed, work, inputs, targets, dropout, first, last):
    """Run streams first..last forward and, as `mode` asks, through loss and backward."""
    forward_shard(packed, work, inputs, dropout, first, last)
    if mode != FORWARD:
        loss_shard(work, targets, packed.table.shape[1], mode == TRAIN, first, last)
    if mode == TRAIN:
        backward_shard(packed, work, dropout, first, last)


@cached_njit
def run_phase(
    phase, shard, shards, mode, parameters, gradients, offsets, packed, work, inputs, targets,
    dropout,
):  # fmt: skip
    """Do one shard's part of a phase, in `mode` FORWARD (logits), LOSS (and losses) or TRAIN.

    TRAIN makes gradients too, which are overwritten. h[:, 0] and c[:, 0] of the workspace
    hold the carried-in state; h[:, T] and c[:, T] are then the state to carry on. All shards
    must be done with a phase before the next one; one shard may run them ALL in one call.
    """
    if phase in (PACK, ALL):
        pack_shard(shard, shards, parameters, offsets, packed, mode == TRAIN)
    if phase in (STREAMS, ALL):
        streams = inputs.shape[1]
        first, last = streams * shard // shards, streams * (shard + 1) // shards
        if first < last:
            window_shard(mode, packed, work, inputs, targets, dropout, first, last)
    if mode == TRAIN and phase in (GRADIENTS, ALL):
        gradient_shard(shard, shards, gradients, offsets, packed, work, inputs)


def run_phase_pointer(*window):
    """Return the address of `run_phase` for windows of these types; see `call_pointer`."""
    return function_pointer(run_phase, PACK, 0, 1, *window)


@cached_parallel_njit
def run_phase_parallel(
    run_phase_ptr, phase, shards, mode, parameters, gradients, offsets, packed, work, inputs,
    targets, dropout,
):  # fmt: skip
    """Run one phase with its shards in parallel; `run_phase_ptr` is the address of `run_phase`."""
    for shard in numba.prange(shards):
        window = (mode, parameters, gradients, offsets, packed, work, inputs, targets, dropout)
        call_pointer(run_phase_ptr, (phase, shard, shards, *window))
