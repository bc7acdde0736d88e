"""Memory for the kernels: packed weights, and what a window leaves behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.arguments import as_real_array, show
from charlstm.config import ModelConfig
from charlstm.errors import UsageError
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.packing import PackedWeights
from charlstm.kernels.vector import LANES
from charlstm.kernels.window import Workspace
from charlstm.parameters import aligned_zeros

Array = npt.NDArray[Any]
State = tuple[Array, Array]
SCRATCH_BYTES = 2 * 1024 * 1024  # of weight gradients that are summed at a time


def make_packed(config: ModelConfig) -> PackedWeights:
    """Return zeroed memory for a model's packed weights; kernels never write its padding."""
    symbols, hidden, layers = config.vocabulary_size, config.hidden_size, config.layers
    panels, columns, rows = -(-hidden // LANES), -(-hidden // PANEL), -(-symbols // PANEL)

    def zeros(*shape: int) -> Array:
        return aligned_zeros(shape, config.dtype)

    return PackedWeights(
        used=np.zeros(symbols, np.bool_),
        table=zeros(panels, symbols, PANEL),
        bias=zeros(layers, panels, PANEL),
        weight_ih=zeros(layers - 1, panels, hidden, PANEL),
        weight_hh=zeros(layers, panels, hidden, PANEL),
        head=zeros(rows, hidden, PANEL),
        head_bias=zeros(rows, PANEL),
        weight_ih_t=zeros(layers - 1, columns, panels * PANEL, PANEL),
        weight_hh_t=zeros(layers, columns, panels * PANEL, PANEL),
        head_t=zeros(columns, rows * PANEL, PANEL),
    )


def make_workspace(config: ModelConfig, steps: int, streams: int, shards: int) -> Workspace:
    """Return zeroed memory for windows of `steps` times `streams` characters."""
    symbols, hidden, layers = config.vocabulary_size, config.hidden_size, config.layers
    panels, rows = -(-hidden // LANES), -(-symbols // PANEL)
    width = panels * LANES

    def zeros(*shape: int) -> Array:
        return aligned_zeros(shape, config.dtype)

    panel_rows = max(hidden, symbols) + hidden + 1  # of one panel's weight gradients
    owned = -(-panels // shards)
    panel_bytes = panel_rows * PANEL * np.dtype(config.dtype).itemsize
    together = max(1, min(owned, SCRATCH_BYTES // panel_bytes))
    h = zeros(layers, steps + 1, streams, width)
    return Workspace(
        inputs=np.zeros((steps, streams), np.int32),
        targets=np.zeros((steps, streams), np.int32),
        gates=zeros(layers, panels, steps, streams, PANEL),
        h=h,
        c=zeros(layers, steps + 1, streams, width),
        tanh_c=zeros(layers, steps, streams, width),
        x=zeros(layers, steps + 1, streams, width) if config.dropout else h,
        logits=zeros(rows, steps, streams, PANEL),
        losses=zeros(steps, streams),
        dy=zeros(layers, steps + 1, streams, width),
        dh=zeros(layers, streams, width),
        dc=zeros(layers, streams, width),
        sums=zeros(streams, PANEL),
        scratch=zeros(shards, together * panel_rows, PANEL),
    )


def without_dropout(work: Workspace) -> Workspace:
    """Return the same memory for a window without dropout: x aliases h."""
    return work._replace(x=work.h)


def load_state(work: Workspace, state: State | None, config: ModelConfig) -> None:
    """Put a state (h, c), each (L, B, H), in row 0 of the workspace; None is zeros.

    Raises
    ------
    UsageError
        If it is no pair, a shape is wrong, or an array does not hold real numbers.
    """
    if state is None:
        work.h[:, 0] = 0
        work.c[:, 0] = 0
        return
    expected = (config.layers, work.losses.shape[1], config.hidden_size)
    if not isinstance(state, tuple | list) or len(state) != 2:
        raise UsageError(f"state must be a pair (h, c), got {show(state)}", ["state"])
    for name, rows, value in zip("hc", (work.h, work.c), state, strict=True):
        is_plain = isinstance(value, np.ndarray) and value.dtype == config.dtype
        if not is_plain or value.shape != expected:  # as it is not in training
            value = as_real_array(f"state {name}", value, expected)
        rows[:, 0, :, : config.hidden_size] = value
