"""One window of truncated BPTT: pack the weights, forward, loss, backward, gradients.

Three phases, each split over shards that share nothing. Packing and weight gradients
are split by panels (columns of the weights), forward and backward by streams. No sum
crosses a shard, so no result depends on how many there are.
"""

from typing import NamedTuple

import numba
import numpy as np

from charlstm.kernels.compiler import entry, kernel, parallel_entry, stage
from charlstm.kernels.dropout import apply_dropout
from charlstm.kernels.embedding import embedding_backward
from charlstm.kernels.lstm import dense_backward, dense_forward, lstm_backward, lstm_forward
from charlstm.kernels.product import (
    add_to_rows,
    fill,
    multiply_panel,
    multiply_transposed,
    pack_panel,
    pack_panel_transposed,
    set_rows,
    sum_rows,
    unpack_panel,
)
from charlstm.kernels.softmax import cross_entropy_row
from charlstm.kernels.tile import PANEL
from charlstm.kernels.vector import LANES, flat

FORWARD, LOSS, TRAIN = 0, 1, 2
PACK, STREAMS, GRADIENTS = 0, 1, 2
PHASES = (PACK, STREAMS, GRADIENTS)


class Packed(NamedTuple):
    """The weights in panels, made anew in every call; P panels of units, Q of H, R of V."""

    table: np.ndarray  # (P, V, PANEL): layer 0's input weights plus bias
    bias: np.ndarray  # (L, P, PANEL)
    weight_ih: np.ndarray  # (L - 1, P, H, PANEL): the layers above the first
    weight_hh: np.ndarray  # (L, P, H, PANEL)
    head: np.ndarray  # (R, H, PANEL)
    head_bias: np.ndarray  # (R, PANEL)
    weight_ih_t: np.ndarray  # (L - 1, Q, P * PANEL, PANEL)
    weight_hh_t: np.ndarray  # (L, Q, P * PANEL, PANEL)
    head_t: np.ndarray  # (Q, R * PANEL, PANEL)


class Workspace(NamedTuple):
    """What a window's forward pass leaves for its backward pass; W is H in whole lanes."""

    gates: np.ndarray  # (L, P, T, B, PANEL): gates, then dgates in their place
    h: np.ndarray  # (L, T + 1, B, W)
    c: np.ndarray  # (L, T + 1, B, W)
    tanh_c: np.ndarray  # (L, T, B, W)
    x: np.ndarray  # (L, T + 1, B, W): h after dropout; the same array as h without
    logits: np.ndarray  # (R, T, B, PANEL): logits, then dlogits in their place
    losses: np.ndarray  # (T, B): nats
    dh: np.ndarray  # (L, T + 1, B, W)
    dc: np.ndarray  # (L, B, W)
    sums: np.ndarray  # (B, PANEL): one panel of W_ih x_t + W_hh h_{t-1} + bias
    scratch: np.ndarray  # (shards, max(H, V), PANEL): a weight gradient in panel order


@kernel
def pack_shard(shard, shards, parameters, offsets, packed, train):
    """Pack every panel that the shard owns; the transposed ones only to train."""
    layers, panels, hidden, _ = packed.weight_hh.shape
    symbols = packed.table.shape[1]
    table, bias = flat(packed.table), flat(packed.bias)
    weight_ih, weight_hh = flat(packed.weight_ih), flat(packed.weight_hh)
    size = hidden * PANEL
    for p in range(shard, panels, shards):
        for layer in range(layers):
            at = layer * panels + p
            pack_panel(bias, at * PANEL, parameters, offsets[layer, 2], 1, hidden, True, p)
            start = offsets[layer, 1]
            pack_panel(weight_hh, at * size, parameters, start, hidden, hidden, True, p)
            if layer > 0:
                at, start = (at - panels) * size, offsets[layer, 0]
                pack_panel(weight_ih, at, parameters, start, hidden, hidden, True, p)
        at = p * symbols * PANEL
        pack_panel(table, at, parameters, offsets[0, 0], symbols, hidden, True, p)
        add_to_rows(table, at, symbols, bias, p * PANEL)
    start, start_bias = offsets[layers, 0], offsets[layers, 1]
    head, head_bias = flat(packed.head), flat(packed.head_bias)
    for r in range(shard, packed.head.shape[0], shards):
        pack_panel(head, r * size, parameters, start, hidden, symbols, False, r)
        pack_panel(head_bias, r * PANEL, parameters, start_bias, 1, symbols, False, r)
    if train:
        for q in range(shard, packed.head_t.shape[0], shards):
            pack_transposed(q, parameters, offsets, packed)


@kernel
def pack_transposed(q, parameters, offsets, packed):
    """Pack panel q, PANEL units, of every transposed matrix."""
    layers, panels, hidden, _ = packed.weight_hh.shape
    columns, depth, _ = packed.head_t.shape
    symbols = packed.table.shape[1]
    weight_ih, weight_hh = flat(packed.weight_ih_t), flat(packed.weight_hh_t)
    size = panels * PANEL * PANEL
    for layer in range(layers):
        at, start = layer * columns + q, offsets[layer, 1]
        pack_panel_transposed(weight_hh, at * size, parameters, start, hidden, hidden, True, q)
        if layer > 0:
            at, start = (at - columns) * size, offsets[layer, 0]
            pack_panel_transposed(weight_ih, at, parameters, start, hidden, hidden, True, q)
    at, start = q * depth * PANEL, offsets[layers, 0]
    pack_panel_transposed(flat(packed.head_t), at, parameters, start, hidden, symbols, False, q)


@stage
def forward_shard(packed, work, inputs, dropout, first, last):
    """Run all layers and the output layer forward for streams first..last."""
    layers, _, streams, width = work.h.shape
    for layer in range(layers):
        gates = work.gates[layer]
        if layer > 0:
            below = work.x[layer - 1]
            weight = packed.weight_ih[layer - 1]
            dense_forward(gates, below, streams * width, weight, packed.bias[layer], first, last)
        lstm_forward(
            gates, work.c[layer], work.tanh_c[layer], work.h[layer], work.sums,
            packed.weight_hh[layer], packed.table, inputs, layer == 0, first, last,
        )  # fmt: skip
        if dropout.threshold > 0:
            apply_dropout(work.x[layer], work.h[layer], layer, dropout, first, last)
    head_forward(work.logits, work.x[layers - 1], packed, first, last)


@stage
def head_forward(logits, x, packed, first, last):
    """Set the logits to head.weight x_t + head.bias for all T."""
    columns, steps, streams, _ = logits.shape
    width = x.shape[2]
    hidden = packed.head.shape[1]
    symbols = packed.table.shape[1]
    out, features = flat(logits), flat(x)
    head, head_bias = flat(packed.head), flat(packed.head_bias)
    for r in range(columns):
        used = min(PANEL, (symbols - r * PANEL + LANES - 1) // LANES * LANES)
        for t in range(steps):
            start = ((r * steps + t) * streams + first) * PANEL
            set_rows(out, start, last - first, head_bias, r * PANEL)
            multiply_panel(
                out, start, PANEL, features, ((t + 1) * streams + first) * width, width, 1, 0,
                head, r * hidden * PANEL, hidden, 1, last - first, used,
            )  # fmt: skip


@kernel
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


@stage
def head_backward(dx, logits, packed, first, last):
    """Set dx[t + 1] to dlogits_t head.weight for all T, undoing `head_forward`."""
    columns, steps, streams, _ = logits.shape
    width = dx.shape[2]
    symbols = packed.table.shape[1]
    whole = symbols // PANEL
    rows = steps * streams
    out, dlogits, head = flat(dx), flat(logits), flat(packed.head_t)
    for t in range(steps):
        row = t * streams + first
        fill(out, (row + streams) * width, (last - first) * width, 0)
        for q in range(packed.head_t.shape[0]):
            target = (row + streams) * width + q * PANEL
            weight = q * columns * PANEL * PANEL
            used = min(PANEL, width - q * PANEL)
            if whole > 0:
                multiply_panel(
                    out, target, width, dlogits, row * PANEL, PANEL, 1, rows * PANEL,
                    head, weight, PANEL, whole, last - first, used,
                )  # fmt: skip
            if symbols > whole * PANEL:
                multiply_panel(
                    out, target, width, dlogits, (whole * rows + row) * PANEL, PANEL, 1, 0,
                    head, weight + whole * PANEL * PANEL,
                    symbols - whole * PANEL, 1, last - first, used,
                )  # fmt: skip


@stage
def backward_shard(packed, work, dropout, first, last):
    """Undo `forward_shard`: leave dgates in `gates` and the gradients of h0, c0."""
    layers, _, streams, width = work.h.shape
    top = layers - 1
    head_backward(work.dh[top], work.logits, packed, first, last)
    for layer in range(top, -1, -1):
        dh = work.dh[layer]
        if dropout.threshold > 0:
            apply_dropout(dh, dh, layer, dropout, first, last)
        fill(flat(dh), first * width, (last - first) * width, 0)
        fill(flat(work.dc[layer]), first * width, (last - first) * width, 0)
        lstm_backward(
            work.gates[layer], dh, work.dc[layer], work.c[layer], work.tanh_c[layer],
            packed.weight_hh_t[layer], first, last,
        )  # fmt: skip
        if layer > 0:
            weight = packed.weight_ih_t[layer - 1]
            below = work.dh[layer - 1]
            dense_backward(below, streams * width, work.gates[layer], weight, first, last)


@kernel
def gradient_shard(shard, shards, gradients, offsets, packed, work, inputs):
    """Write the weight gradients of the panels that the shard owns."""
    layers, panels, hidden, _ = packed.weight_hh.shape
    _, steps, streams, _ = work.logits.shape
    width = work.h.shape[3]
    symbols = packed.table.shape[1]
    rows = steps * streams
    scratch = flat(work.scratch[shard])
    for p in range(shard, panels, shards):
        embedding_backward(scratch, work.gates[0], inputs, symbols, p)
        unpack_panel(gradients, offsets[0, 0], scratch, 0, symbols, hidden, True, p)
        for layer in range(layers):
            dgates = flat(work.gates[layer])
            at = p * rows * PANEL
            h = flat(work.h[layer])
            multiply_transposed(scratch, h, 0, width, dgates, at, rows, 0, hidden, PANEL)
            unpack_panel(gradients, offsets[layer, 1], scratch, 0, hidden, hidden, True, p)
            sum_rows(scratch, dgates, at, rows)
            unpack_panel(gradients, offsets[layer, 2], scratch, 0, 1, hidden, True, p)
            if layer > 0:
                x, start = flat(work.x[layer - 1]), streams * width
                multiply_transposed(scratch, x, start, width, dgates, at, rows, 0, hidden, PANEL)
                unpack_panel(gradients, offsets[layer, 0], scratch, 0, hidden, hidden, True, p)
    head_gradient(shard, shards, gradients, offsets, packed, work)


@stage
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
    target, target_bias = offsets[layers, 0] + first * symbols, offsets[layers, 1]
    for r in range(columns):
        used = min(PANEL, (symbols - r * PANEL + LANES - 1) // LANES * LANES)
        at = r * rows * PANEL
        multiply_transposed(scratch, x, start, width, dlogits, at, rows, first, last, used)
        count = last - first
        unpack_panel(gradients, target, scratch, first * PANEL, count, symbols, False, r)
        if r % shards == shard:
            sum_rows(scratch, dlogits, at, rows)
            unpack_panel(gradients, target_bias, scratch, 0, 1, symbols, False, r)


@kernel
def window_shard(mode, packed, work, inputs, targets, dropout, first, last):
    """Run streams first..last forward and, as `mode` asks, through loss and backward."""
    forward_shard(packed, work, inputs, dropout, first, last)
    if mode != FORWARD:
        loss_shard(work, targets, packed.table.shape[1], mode == TRAIN, first, last)
    if mode == TRAIN:
        backward_shard(packed, work, dropout, first, last)


@kernel
def run_shard(
    phase, shard, shards, mode, parameters, gradients, offsets, packed, work, inputs, targets,
    dropout,
):  # fmt: skip
    """Do one shard's part of a phase."""
    if phase == PACK:
        pack_shard(shard, shards, parameters, offsets, packed, mode == TRAIN)
    elif phase == STREAMS:
        streams = inputs.shape[1]
        first, last = streams * shard // shards, streams * (shard + 1) // shards
        if first < last:
            window_shard(mode, packed, work, inputs, targets, dropout, first, last)
    elif mode == TRAIN:
        gradient_shard(shard, shards, gradients, offsets, packed, work, inputs)


@entry
def run_window(
    mode, parameters, gradients, offsets, packed, work, inputs, targets, dropout
):  # fmt: skip
    """Run one window in `mode` FORWARD (logits), LOSS (and losses) or TRAIN (and gradients).

    h[:, 0] and c[:, 0] of the workspace hold the carried-in state; on return
    h[:, T] and c[:, T] hold the state to carry on. Gradients are overwritten.
    """
    for phase in PHASES:
        run_shard(
            phase, 0, 1, mode, parameters, gradients, offsets, packed, work, inputs, targets,
            dropout,
        )  # fmt: skip


@parallel_entry
def run_phase_parallel(
    phase, shards, mode, parameters, gradients, offsets, packed, work, inputs, targets, dropout
):
    """Run one phase of `run_window` with its shards in parallel.

    One parallel loop for all phases: each further one would compile everything again.
    """
    for shard in numba.prange(shards):
        run_shard(
            phase, shard, shards, mode, parameters, gradients, offsets, packed, work, inputs,
            targets, dropout,
        )  # fmt: skip
