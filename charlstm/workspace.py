"""Memory for the kernels: packed weights, and what a window leaves behind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import as_real_array, show
from charlstm.config import ModelConfig
from charlstm.errors import UsageError
from charlstm.kernels.bptt_window import Workspace
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.packing import PackedWeights
from charlstm.kernels.simd import LANES
from charlstm.parameters import aligned_zeros

Array = npt.NDArray[Any]
State = tuple[Array, Array]
SCRATCH_BYTES = 2 * 1024 * 1024  # of weight gradients that are summed at a time


def make_packed(config: ModelConfig) -> PackedWeights:
    """Return zeroed memory for a model's packed weights; kernels never write its padding."""
    active = np.zeros(config.vocabulary_size, np.bool_)
    shapes = _packed_shapes(config).items()
    return PackedWeights(
        used=active, **{name: aligned_zeros(shape, config.dtype) for name, shape in shapes}
    )


def packed_bytes(config: ModelConfig) -> int:
    """Return the size of `make_packed` in bytes."""
    return _bytes(_packed_shapes(config), config)


def _packed_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    symbols, hidden, layers = config.vocabulary_size, config.hidden_size, config.layers
    panels, columns, rows = -(-hidden // LANES), -(-hidden // PANEL), -(-symbols // PANEL)
    return {
        "table": (panels, symbols, PANEL),
        "bias": (layers, panels, PANEL),
        "weight_ih": (layers - 1, panels, hidden, PANEL),
        "weight_hh": (layers, panels, hidden, PANEL),
        "head": (rows, hidden, PANEL),
        "head_bias": (rows, PANEL),
        "weight_ih_t": (layers - 1, columns, panels * PANEL, PANEL),
        "weight_hh_t": (layers, columns, panels * PANEL, PANEL),
        "head_t": (columns, rows * PANEL, PANEL),
    }


def make_workspace(config: ModelConfig, steps: int, streams: int, shards: int) -> Workspace:
    """Return zeroed memory for windows of `steps` times `streams` characters."""
    shapes = _workspace_shapes(config, steps, streams, shards)
    arrays = {name: aligned_zeros(shape, config.dtype) for name, shape in shapes.items()}
    ids = {name: np.zeros((steps, streams), np.int32) for name in ("inputs", "targets")}
    return Workspace(**{"x": arrays["h"], **ids, **arrays})


def workspace_bytes(config: ModelConfig, steps: int, streams: int, shards: int) -> int:
    """Return the size of `make_workspace` in bytes."""
    return _bytes(_workspace_shapes(config, steps, streams, shards), config)


def _workspace_shapes(
    config: ModelConfig, steps: int, streams: int, shards: int
) -> dict[str, tuple[int, ...]]:
    """Return the shapes; without dropout there is no `x`, which then is `h`."""
    symbols, hidden, layers = config.vocabulary_size, config.hidden_size, config.layers
    panels, rows = -(-hidden // LANES), -(-symbols // PANEL)
    width = panels * LANES
    panel_rows = max(hidden, symbols) + hidden + 1  # of one panel's weight gradients
    owned = -(-panels // shards)
    panel_bytes = panel_rows * PANEL * np.dtype(config.dtype).itemsize
    together = max(1, min(owned, SCRATCH_BYTES // panel_bytes))
    states = layers, steps + 1, streams, width
    return {
        "gates": (layers, panels, steps, streams, PANEL),
        "h": states,
        "c": states,
        "tanh_c": (layers, steps, streams, width),
        **({"x": states} if config.dropout else {}),
        "logits": (rows, steps, streams, PANEL),
        "losses": (steps, streams),
        "dy": states,
        "dh": (layers, streams, width),
        "dc": (layers, streams, width),
        "sums": (streams, PANEL),
        "scratch": (shards, together * panel_rows, PANEL),
    }


def _bytes(shapes: dict[str, tuple[int, ...]], config: ModelConfig) -> int:
    return sum(map(math.prod, shapes.values())) * np.dtype(config.dtype).itemsize


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
        if not is_plain or value.shape != expected:  # never in training
            value = as_real_array(f"state {name}", value, expected)
        rows[:, 0, :, : config.hidden_size] = value
