"""One window of truncated BPTT: pack the weights, forward, loss, backward, gradients.

Three phases, each split over shards that share nothing. Packing and weight gradients
are split by panels (columns of the weights), forward and backward by streams. No sum
crosses a shard, so no result depends on how many there are.
"""

from typing import NamedTuple

import numba
import numpy as np

from charlstm.kernels.array_views import borrow, flat
from charlstm.kernels.dropout import Dropout, apply_dropout
from charlstm.kernels.embedding import Embedding
from charlstm.kernels.head import head_backward, head_forward, head_gradient
from charlstm.kernels.jit import (
    cached_njit,
    cached_parallel_njit,
    function_pointer,
    inline_jitable,
    inlined_njit,
    jitable,
    pointer_caller,
)
from charlstm.kernels.lstm import (
    LayerActivations,
    dense_backward,
    dense_forward,
    lstm_backward,
    lstm_forward,
)
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.operands import numbers_per_element, store_operand
from charlstm.kernels.packing import Matrix, PackedWeights, pack_shard, unpack_panel
from charlstm.kernels.panel_layout import VECTORS_PER_PANEL, fill
from charlstm.kernels.row_pairs import Features
from charlstm.kernels.simd import LANES, load
from charlstm.kernels.softmax import cross_entropy_row, panel_range
from charlstm.kernels.weight_gradients import dense_layer_gradients, embedding_layer_gradients

FORWARD, LOSS, TRAIN = 0, 1, 2  # modes: logits; losses too; gradients too
PACK, STREAMS, GRADIENTS, ALL = 0, 1, 2, 3  # the phases; GRADIENTS to train only


class Workspace(NamedTuple):
    """A window's characters, and what its passes leave; W is H in whole lanes.

    Products read the operand arrays `h_operand`, `x`, `dgates` and `dlogits`. Those are half as
    long where they hold pairs; where they hold numbers, `h_operand` is the same array as `h`,
    `dgates` as `gates` and `dlogits` as `logits`.
    """

    inputs: np.ndarray  # (T, B) int32
    targets: np.ndarray  # (T, B) int32; in mode FORWARD not read
    gates: np.ndarray  # (L, P, T, B, PANEL): gates, then dgates in their place
    h: np.ndarray  # (L, T + 1, B, W)
    c: np.ndarray  # (L, T + 1, B, W)
    tanh_c: np.ndarray  # (L, T, B, W)
    h_operand: np.ndarray  # (L, T + 1, B, W): h
    x: np.ndarray  # (L, T + 1, B, W): h after dropout; the same array as h_operand without
    dgates: np.ndarray  # (L, P, T, B, PANEL)
    dlogits: np.ndarray  # (R, T, B, PANEL)
    logits: np.ndarray  # (R, T, B, PANEL): logits, then dlogits in their place
    losses: np.ndarray  # (T, B): nats
    dy: np.ndarray  # (L, T + 1, B, W): gradients of h from the layer above
    dh: np.ndarray  # (L, B, W)
    dc: np.ndarray  # (L, B, W)
    sums: np.ndarray  # (B, PANEL): one panel of W_hh h_{t-1}
    scratch: np.ndarray  # (shards, >= max(H, V) + H + 1, PANEL): some panels' gradients
    pairs: np.ndarray  # (shards, n): see `row_pairs`; of operands that are pairs, else empty


class Window(NamedTuple):
    """All that the phases of a window read and write.

    The workspace's h[:, 0] and c[:, 0] hold the carried-in state; afterwards h[:, T] and
    c[:, T] are the state to carry on.
    """

    mode: int  # FORWARD, LOSS or TRAIN
    parameters: np.ndarray  # the flat buffer
    gradients: np.ndarray  # flat; overwritten in mode TRAIN, else untouched
    offsets: np.ndarray  # (L + 1, 3): where tensors begin in both; see `pack_shard`
    packed: PackedWeights  # overwritten
    work: Workspace  # overwritten
    dropout: Dropout
    scale: float  # of each character's loss, in the loss whose gradients are computed


@inline_jitable
def layer_activations(work, layer):
    """Return one layer's part of a Workspace, as views."""
    return LayerActivations(
        work.gates[layer], work.h[layer], work.c[layer], work.tanh_c[layer], work.sums,
        work.h_operand[layer], work.dgates[layer],
    )  # fmt: skip


@inlined_njit
def forward_shard(packed, work, dropout, first, last):
    """Run all layers and the output layer forward for the streams first..last.

    `packed` (PackedWeights) holds the weights; `work` (Workspace) is overwritten from gates to
    logits; `dropout` is a Dropout.
    """
    layers, _, streams, width = work.x.shape
    for layer in range(layers):
        activations = layer_activations(work, layer)
        if layer > 0:
            below = work.x[layer - 1]
            weight = packed.weight_ih[layer - 1]
            dense_forward(activations.gates, below, streams * width, weight, first, last)
        embedding = Embedding(packed.table, work.inputs, layer == 0)
        lstm_forward(
            activations, packed.weight_hh[layer], packed.bias[layer], embedding, first, last
        )
        if dropout.threshold > 0:
            apply_dropout(work.x[layer], activations.h, layer, dropout, first, last)
    head_forward(work.logits, work.x[layers - 1], packed, first, last)


@jitable
def loss_shard(work, symbols, scale, train, first, last):
    """Compute the losses of the streams first..last; to `train`, their gradients times `scale`.

    `work` (Workspace): losses are overwritten and, to train, logits by dlogits, and what
    products read of these. `symbols` is V.
    """
    _, steps, streams, _ = work.logits.shape
    rows = steps * streams
    factor = work.losses.dtype.type(scale)
    for t in range(steps):
        for b in range(first, last):
            work.losses[t, b] = cross_entropy_row(
                work.logits, t * streams + b, rows, symbols, work.targets[t, b], factor, train
            )
            if train and numbers_per_element(work.dlogits) > 1:
                for panel in range(work.logits.shape[0]):
                    start, end = panel_range(panel, t * streams + b, rows, symbols)
                    for offset in range(start, end, LANES):
                        store_operand(work.dlogits, offset, load(work.logits, offset))


@inlined_njit
def backward_shard(packed, work, dropout, first, last):
    """Undo `forward_shard`, whose arguments it takes.

    `work`: gates are overwritten by dgates, dh and dc by the gradients of h0 and c0, and dy.
    """
    layers, _, streams, width = work.h.shape
    top = layers - 1
    head_backward(work.dy[top], work.dlogits, packed, first, last)
    for layer in range(top, -1, -1):
        activations = layer_activations(work, layer)
        dy, dh, dc = work.dy[layer], work.dh[layer], work.dc[layer]
        if dropout.threshold > 0:
            apply_dropout(dy, dy, layer, dropout, first, last)
        fill(flat(dh), first * width, (last - first) * width, 0)
        fill(flat(dc), first * width, (last - first) * width, 0)
        lstm_backward(activations, dh, dc, dy, packed.weight_hh_t[layer], first, last)
        if layer > 0:
            weight = packed.weight_ih_t[layer - 1]
            below = work.dy[layer - 1]
            dense_backward(below, streams * width, activations.dgates, weight, first, last)


@inlined_njit
def window_shard(mode, packed, work, dropout, scale, first, last):
    """Run the streams first..last forward and, as `mode` asks, through loss and backward.

    `packed`, `work`, `dropout` and `scale` are those of the Window; see `forward_shard`,
    `loss_shard` and `backward_shard` for what is overwritten.
    """
    forward_shard(packed, work, dropout, first, last)
    if mode != FORWARD:
        loss_shard(work, packed.table.shape[1], scale, mode == TRAIN, first, last)
    if mode == TRAIN:
        backward_shard(packed, work, dropout, first, last)


@jitable
def gradient_shard(gradients, offsets, packed, work, shard, shards):
    """Compute the weight gradients that shard number `shard` of `shards` owns.

    `gradients`, the flat buffer, is overwritten where they lie (see `pack_shard` for
    `offsets`), but for the rows of symbols that are not in use. `packed` (PackedWeights) tells
    these and the sizes; `work` (Workspace) holds dgates, dlogits, h and x, and its scratch and
    pairs are overwritten.
    """
    layers, panels, _, _ = packed.weight_hh.shape
    hidden = packed.hidden
    _, steps, streams, _ = work.logits.shape
    width = work.h.shape[3]
    symbols = packed.table.shape[1]
    buffer, scratch, ids = flat(gradients), flat(work.scratch[shard]), flat(work.inputs)
    pairs = flat(work.pairs[shard])
    start, stop = panels * shard // shards, panels * (shard + 1) // shards
    for layer in range(layers):
        inputs = symbols if layer == 0 else hidden
        size = (inputs + hidden + 1) * PANEL
        group = max(1, min(stop - start, scratch.size // size))  # a shard may own none
        start_ih, start_hh, start_bias = offsets[layer]
        weight_hh = Matrix(buffer, start_hh, hidden, hidden, True)
        bias = Matrix(buffer, start_bias, 1, hidden, True)
        dgates, operands = flat(work.gates[layer]), flat(work.dgates[layer])
        h = Features(flat(work.h_operand[layer]), 0, width, hidden)
        for first in range(start, stop, group):
            last = min(stop, first + group)
            if layer == 0:
                embedding_layer_gradients(
                    scratch, pairs, dgates, operands, ids, packed.used, h, first, last
                )
            else:
                x = Features(flat(work.x[layer - 1]), streams * width, width, hidden)
                dense_layer_gradients(
                    scratch, pairs, dgates, operands, steps * streams, x, h, first, last
                )
            for p in range(first, last):
                offset = (p - first) * size
                if layer == 0:
                    unpack_used(buffer, start_ih, hidden, packed.used, p, scratch, offset)
                else:
                    weight_ih = Matrix(buffer, start_ih, hidden, hidden, True)
                    unpack_panel(weight_ih, p, scratch, offset)
                offset += inputs * PANEL
                unpack_panel(weight_hh, p, scratch, offset)
                unpack_panel(bias, p, scratch, offset + hidden * PANEL)
    head_gradient(gradients, offsets, packed, work, shard, shards)


@jitable
def unpack_used(gradients, offset, hidden, used, panel, packed, packed_offset):
    """Copy one panel's rows of the symbols in use into layer 0's weight_ih.

    `gradients` is flat and overwritten there, the matrix (V, 4H) from `offset` on; the others'
    rows are 0 already. `used` (V,) tells the symbols. `packed` is flat and holds panel number
    `panel`, (V, PANEL), from `packed_offset` on.
    """
    for symbol in range(used.size):
        if used[symbol]:
            start = offset + symbol * VECTORS_PER_PANEL * hidden
            row = Matrix(gradients, start, 1, hidden, True)
            unpack_panel(row, panel, packed, packed_offset + symbol * PANEL)


@cached_njit
def run_phase(phase, shard, shards, window):
    """Do the part of a phase that shard number `shard` of `shards` owns.

    `phase` is PACK, STREAMS or GRADIENTS: all shards must be done with one before the next.
    One shard may run them ALL in one call. See `Window` for what is overwritten.
    """
    window = borrow(window)
    mode, packed, work = window.mode, window.packed, window.work
    if phase in (PACK, ALL):
        pack_shard(packed, window.parameters, window.offsets, shard, shards, mode == TRAIN)
    if phase in (STREAMS, ALL):
        streams = work.inputs.shape[1]
        first, last = streams * shard // shards, streams * (shard + 1) // shards
        if first < last:
            window_shard(mode, packed, work, window.dropout, window.scale, first, last)
    if mode == TRAIN and phase in (GRADIENTS, ALL):
        gradient_shard(window.gradients, window.offsets, packed, work, shard, shards)


call_run_phase = pointer_caller(run_phase)


def run_phase_pointer(window):
    """Return the address of `run_phase` for windows of this one's types: for `call_run_phase`."""
    return function_pointer(run_phase, PACK, 0, 1, window)


@cached_parallel_njit
def run_phase_parallel(
    run_phase_ptr, phase, shards, mode, parameters, gradients, offsets, packed, work, dropout, scale
):
    """Run one phase of a Window in `shards` parallel parts; see `run_phase_pointer`.

    The Window comes in pieces: Numba's parallel loops take no tuples of tuples.
    """
    for shard in numba.prange(shards):
        window = Window(mode, parameters, gradients, offsets, packed, work, dropout, scale)
        call_run_phase(run_phase_ptr, (phase, shard, shards, window))
