"""The weights in panels: a packed copy of every matrix, made anew for every window."""

from typing import NamedTuple

import numpy as np

from charlstm.kernels.jit import jitable
from charlstm.kernels.matmul import VECTORS_PER_PANEL, pack_panel_transposed, pack_panels
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.vector import flat


class PackedWeights(NamedTuple):
    """The weights in panels, made anew in every call; P panels of units, Q of H, R of V."""

    used: np.ndarray  # (V,) bool, an input: the symbols whose rows this window needs
    table: np.ndarray  # (P, V, PANEL): layer 0's input weights, of the symbols in use
    bias: np.ndarray  # (L, P, PANEL)
    weight_ih: np.ndarray  # (L - 1, P, H, PANEL): the layers above the first
    weight_hh: np.ndarray  # (L, P, H, PANEL)
    head: np.ndarray  # (R, H, PANEL)
    head_bias: np.ndarray  # (R, PANEL)
    weight_ih_t: np.ndarray  # (L - 1, Q, P * PANEL, PANEL)
    weight_hh_t: np.ndarray  # (L, Q, P * PANEL, PANEL)
    head_t: np.ndarray  # (Q, R * PANEL, PANEL)


class ActiveRows(NamedTuple):
    """The rows that a flat buffer begins with, one a symbol, and which of them matter."""

    used: np.ndarray  # (V,) bool: the gradient of all others is zero
    length: int  # elements of a row


@jitable
def pack_shard(shard, shards, parameters, offsets, packed, train):
    """Pack every panel that the shard owns; the transposed ones only to train.

    Of the table only the rows in use are packed.
    """
    layers, panels, hidden, _ = packed.weight_hh.shape
    symbols = packed.table.shape[1]
    first, last = panels * shard // shards, panels * (shard + 1) // shards
    gated = hidden, True, first, last
    size, all_panels = hidden * PANEL, panels * PANEL
    table, bias = flat(packed.table), flat(packed.bias)
    weight_ih, weight_hh = flat(packed.weight_ih), flat(packed.weight_hh)
    for symbol in range(symbols):
        if packed.used[symbol]:
            start = offsets[0, 0] + symbol * VECTORS_PER_PANEL * hidden
            pack_panels(table, symbol * PANEL, symbols * PANEL, parameters, start, 1, *gated)
    for layer in range(layers):
        start_ih, start_hh, start_bias = offsets[layer]
        at = layer * all_panels
        pack_panels(weight_hh, at * hidden, size, parameters, start_hh, hidden, *gated)
        pack_panels(bias, at, PANEL, parameters, start_bias, 1, *gated)
        if layer > 0:
            at = (layer - 1) * all_panels * hidden
            pack_panels(weight_ih, at, size, parameters, start_ih, hidden, *gated)
    columns = packed.head.shape[0]
    plain = symbols, False, columns * shard // shards, columns * (shard + 1) // shards
    start, start_bias = offsets[layers, 0], offsets[layers, 1]
    pack_panels(flat(packed.head), 0, size, parameters, start, hidden, *plain)
    pack_panels(flat(packed.head_bias), 0, PANEL, parameters, start_bias, 1, *plain)
    if train:
        for q in range(shard, packed.head_t.shape[0], shards):
            pack_transposed(q, parameters, offsets, packed)


@jitable
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
